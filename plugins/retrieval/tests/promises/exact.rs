//! Values are never bent: what goes in comes out equal, or is refused by name.

use std::sync::Arc;

use agenthost::contract::flyteidl::core::{
    Literal, LiteralCollection, LiteralMap, LiteralOffloadedMetadata, LiteralType, SimpleType, UnionType, literal,
    literal_type::Type,
};
use agenthost::testing::{Client, TestResult, TestTask};
use agenthost::{StructuredDataset, Value};
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::data_type::{Int96, Int96Type};
use datafusion::parquet::file::writer::SerializedFileWriter;
use datafusion::parquet::schema::parser::parse_message_type;
use prost::Message;
use serde_json::{Value as Json, json};
use tempfile::{TempDir, tempdir};

use crate::support::*;

/// A folder with files of text.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempdir().unwrap();
    for (name, content) in files {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
    folder
}

fn parquet(folder: &TempDir, name: &str, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, c)| (name, c, true))).unwrap();
    let file = std::fs::File::create(folder.path().join(name)).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn table(folder: &TempDir, sql: &str, format: &str) -> TestTask {
    task(sql).custom(json!({"sources": {"t": {"uri": real(folder.path()), "format": format}}}))
}

fn dicts() -> LiteralType {
    list_of(simple(SimpleType::Struct))
}

/// The rows that a query finds, as a list of dicts.
async fn rows(client: &Client, task: TestTask) -> Vec<Json> {
    let result = succeed(client, task.output_type("rows", dicts())).await;
    result.output::<Vec<agenthost::Json<Json>>>("rows").into_iter().map(|row| row.0).collect()
}

/// Runs a task that must fail for good with a message that has all of these.
async fn refused(client: &Client, task: TestTask, said: &[&str]) {
    let message = fail(client, task).await;
    assert!(said.iter().all(|part| message.contains(part)), "{message}\nhas not {said:?}");
}

#[tokio::test]
async fn csv_files_are_read_by_their_own_headers() {
    let files = folder(&[
        ("a.csv", "first,last\nAda,Lovelace\n"),
        ("b.csv", "last,first,born\nHopper,Grace,1906\n"),
        ("c.csv", "born\n1912\n"),
    ]);
    let client = reading(files.path()).await;
    let found = rows(&client, table(&files, "select first, last, born from t order by born nulls first", "csv")).await;
    let wanted = [
        json!({"first": "Ada", "last": "Lovelace", "born": null}),
        json!({"first": "Grace", "last": "Hopper", "born": 1906}),
        json!({"first": null, "last": null, "born": 1912}),
    ];
    assert_eq!(found, wanted);
    let counted =
        rows(&client, table(&files, "select count(*) as n, max(born) as m from t where first is not null", "csv"));
    assert_eq!(counted.await, [json!({"n": 2, "m": 1906})]);
}

#[tokio::test]
async fn csv_columns_have_a_type_that_holds_all_values() {
    let late = (0..1500).map(|i| format!("{i},{i},x\n")).collect::<String>();
    let files = folder(&[
        ("a.csv", &format!("code,n,s\n{late}01234,7,y\n")),
        ("b.csv", "code,n,s\n+49,2.5,1\n1e5,3,2\n12345678901234567890123,-1,3\n"),
    ]);
    let client = reading(files.path()).await;
    let query = "select code from t where code in ('01234', '+49', '1e5', '12345678901234567890123') order by code";
    let codes = rows(&client, table(&files, query, "csv")).await;
    let found: Vec<_> = codes.iter().map(|row| row["code"].as_str().unwrap()).collect();
    assert_eq!(found, ["+49", "01234", "12345678901234567890123", "1e5"]);
    let sum = rows(&client, table(&files, "select arrow_typeof(n) as k, sum(n) as n from t group by 1", "csv")).await;
    assert_eq!(sum, [json!({"k": "Float64", "n": 1499.0 * 750.0 + 7.0 + 4.5})]);
    let custom = json!({"sources": {"t": {"uri": real(files.path()), "options": {"infer_rows": 0}}}});
    let text = rows(&client, task("select arrow_typeof(n) as k from t limit 1").custom(custom)).await;
    assert_eq!(text, [json!({"k": "Utf8"})]);
}

#[tokio::test]
async fn csv_that_cannot_be_one_table_is_refused_by_name() {
    let files = folder(&[("a.csv", "a,b\n1,2\n"), ("b.csv", "a;b\n1;2\n")]);
    let client = reading(files.path()).await;
    refused(&client, table(&files, "select * from t", "csv"), &["b.csv", r#"the one column "a;b""#, "delimiter"]).await;
    let files = folder(&[("a.csv", "a,b,a\n1,2,3\n")]);
    let client = reading(files.path()).await;
    refused(&client, table(&files, "select * from t", "csv"), &["a.csv", r#"the column "a" twice"#]).await;
    let files = folder(&[("a.csv", "a\n1\n"), ("b.json", "{\"a\": 1}")]);
    let client = reading(files.path()).await;
    refused(&client, table(&files, "select * from t", ""), &["b.json is json", "a.csv is csv"]).await;
    let files = folder(&[("a.csv", "a,b\n1,2\n3\n")]);
    let client = reading(files.path()).await;
    refused(&client, table(&files, "select * from t", "csv"), &["a.csv"]).await;
}

#[tokio::test]
async fn parquet_files_that_differ_are_united_by_name() {
    let files = tempdir().unwrap();
    let client = reading(files.path()).await;
    let text = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
    let ints = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    parquet(&files, "a.parquet", vec![("discount", ints(vec![5, 10])), ("code", text(vec!["x", "y"]))]);
    let doubles = Arc::new(Float64Array::from(vec![Some(2.5), None]));
    parquet(
        &files,
        "b.parquet",
        vec![("code", text(vec!["01234", "z"])), ("discount", doubles), ("late", ints(vec![1, 2]))],
    );
    let query = "select sum(discount) as d, sum(late) as l, max(code) as c, count(*) as n from t";
    assert_eq!(rows(&client, table(&files, query, "parquet")).await, [json!({"d": 17.5, "l": 3, "c": "z", "n": 4})]);
    let filtered =
        rows(&client, table(&files, "select code from t where discount > 2 and discount < 6 order by 1", "parquet"));
    assert_eq!(filtered.await, [json!({"code": "01234"}), json!({"code": "x"})]);

    parquet(&files, "c.parquet", vec![("code", Arc::new(Int32Array::from(vec![7])))]);
    assert_eq!(
        rows(&client, table(&files, "select count(*) as n from t where code = '7'", "parquet")).await,
        [json!({"n": 1})]
    );

    parquet(&files, "d.parquet", vec![("discount", ints(vec![(1 << 53) + 1]))]);
    let message = ["d.parquet", r#"the column "discount""#, "Int64", "Float64"];
    refused(&client, table(&files, "select discount from t", "parquet"), &message).await;
    assert_eq!(rows(&client, table(&files, "select count(code) as n from t", "parquet")).await, [json!({"n": 5})]);

    parquet(&files, "e.parquet", vec![("discount", text(vec!["free"]))]);
    refused(
        &client,
        table(&files, "select code from t", "parquet"),
        &["e.parquet", r#""discount""#, "Utf8", "Float64"],
    )
    .await;
}

/// A file with a column of INT96: the nanoseconds of a day, and the day since 4713 BC.
fn int96(folder: &TempDir, name: &str, instants: &[(u64, u32)]) {
    let schema = parse_message_type("message m { optional int96 at; }").unwrap();
    let file = std::fs::File::create(folder.path().join(name)).unwrap();
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let values: Vec<_> =
        instants.iter().map(|(nanos, day)| Int96::from(vec![*nanos as u32, (*nanos >> 32) as u32, *day])).collect();
    column.typed::<Int96Type>().write_batch(&values, Some(&vec![1; values.len()]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

#[tokio::test]
async fn int96_has_microseconds_of_all_years_or_is_refused() {
    const EPOCH: u32 = 2_440_588;
    let files = tempdir().unwrap();
    let client = reading(files.path()).await;
    int96(&files, "a.parquet", &[(1000, EPOCH), (0, EPOCH + 2_932_896), (0, EPOCH - 719_162)]);
    let found = rows(&client, table(&files, "select at from t order by at", "parquet")).await;
    let wanted = ["0001-01-01T00:00:00", "1970-01-01T00:00:00.000001", "9999-12-31T00:00:00"];
    assert_eq!(found, wanted.map(|at| json!({"at": at})));
    int96(&files, "b.parquet", &[(0, EPOCH), (1, EPOCH + 2_932_896)]);
    let said = ["b.parquet has nanoseconds in the column \"at\", an INT96"];
    refused(&client, table(&files, "select at from t", "parquet"), &said).await;
}

#[tokio::test]
async fn folders_are_columns_below_what_the_task_named_alone() {
    let files = folder(&[
        ("env=prod/t/day=2024-05-01/a.csv", "n\n1\n"),
        ("env=prod/t/day=__HIVE_DEFAULT_PARTITION__/b.csv", "n\n2\n"),
        ("env=prod/t/day=a%20b/c.csv", "n\n3\n"),
        ("env=prod/t/day=x/d.csv", "n,day\n4,own\n"),
        ("env=prod/t/e.csv", "n\n5\n"),
    ]);
    let client = reading(files.path()).await;
    let at = format!("{}/env=prod/t", real(files.path()));
    let of = |sql: &str| task(sql).custom(json!({"sources": {"t": {"uri": at, "format": "csv"}}}));
    let found = rows(&client, of("select * from t order by n")).await;
    let days: Vec<_> = found.iter().map(|row| row["day"].clone()).collect();
    assert_eq!(days, [json!("2024-05-01"), json!(null), json!("a b"), json!("own"), json!(null)]);
    assert!(found.iter().all(|row| row.get("env").is_none()), "{found:?}");
    assert_eq!(rows(&client, of("select n from t where day = 'a b'")).await, [json!({"n": 3})]);
    assert_eq!(rows(&client, of("select count(*) as n from t where day is null")).await, [json!({"n": 2})]);
    assert_eq!(rows(&client, of("select count(day) as n from t")).await, [json!({"n": 3})]);
}

#[tokio::test]
async fn folders_that_a_filter_excludes_are_not_read() {
    let files = folder(&[("day=1/a.csv", "n\n1\n"), ("day=2/b.csv", "n\n2\n")]);
    let client = reading(files.path()).await;
    let result = succeed(
        &client,
        table(&files, "select n from t where day = '2'", "csv").output_type("n", simple(SimpleType::Integer)),
    );
    let result = result.await;
    assert_eq!(result.output::<i64>("n"), 2);
}

#[tokio::test]
async fn json_has_types_that_hold_all_values() {
    let late = "{\"a\":1}\n".repeat(1500);
    let files = folder(&[(
        "a.json",
        &format!("{late}{{\"a\":2.5,\"b\":{{\"x\":[1]}}}}\n{{\"b\":{{\"x\":[2.5],\"y\":\"s\"}}}}"),
    )]);
    let client = reading(files.path()).await;
    assert_eq!(
        rows(&client, table(&files, "select sum(a) as s, count(*) as n from t", "json")).await,
        [json!({"s": 1502.5, "n": 1502})]
    );
    let nested = rows(&client, table(&files, "select b from t where b is not null and b['y'] = 's'", "json")).await;
    assert_eq!(nested, [json!({"b": {"x": [2.5], "y": "s"}})]);

    let files = folder(&[
        ("a.json", "[{\"n\": 9007199254740993}, {\"n\": -1}]"),
        ("b.ndjson", "{\"n\": 18446744073709551617, \"m\": 1}\n"),
    ]);
    let client = reading(files.path()).await;
    let found = rows(&client, table(&files, "select n, m from t order by n", "json")).await;
    let wanted = [
        json!({"n": "-1", "m": null}),
        json!({"n": "9007199254740993", "m": null}),
        json!({"n": "18446744073709551617", "m": 1}),
    ];
    assert_eq!(found, wanted);

    let files = folder(&[("a.json", "{\"a\":1}\n"), ("b.json", "{\"a\":\"x\"}\n")]);
    let client = reading(files.path()).await;
    refused(&client, table(&files, "select * from t", "json"), &["b.json", r#"a text in "a""#, "a number before it"])
        .await;
    let files = folder(&[("a.json", "{\"a\":1}\n{\"a\":")]);
    let client = reading(files.path()).await;
    refused(&client, table(&files, "select * from t", "json"), &["a.json cannot be read as JSON"]).await;
}

/// A query's only value as it comes for a declared type.
async fn one(client: &Client, sql: &str, declared: LiteralType) -> TestResult {
    succeed(client, task(sql).output_type("o", declared)).await
}

#[tokio::test]
async fn what_wraps_in_datafusion_fails() {
    let files = tempdir().unwrap();
    let client = reading(files.path()).await;
    let many = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    parquet(
        &files,
        "a.parquet",
        vec![("n", many(vec![i64::MAX, 1, 5])), ("g", many(vec![1, 1, 2])), ("m", many(vec![i64::MAX, -1, 0]))],
    );
    let int = || simple(SimpleType::Integer);
    for sql in [
        "select sum(n) as o from t",
        "select max(s) as o from (select sum(n) as s from t group by g)",
        "select sum(distinct n) as o from t",
        "select max(s) as o from (select sum(n) over (order by g rows between unbounded preceding and current row) as s from t)",
        "select max(s) as o from (select sum(n) over (order by g rows between 1 preceding and current row) as s from t)",
        "select max(n + 1) as o from t",
        "select min(-n - 3) as o from t",
        "select max(n * 2) as o from t",
        "select 9223372036854775807 + 1 as o",
        "select -(-9223372036854775807 - 1) as o",
        "select max(o) as o from (select n + 1 as o from t) where o > 3",
        "select cast(2147483647 as int) + cast(1 as int) as o",
        "select cast(18446744073709551615 as bigint unsigned) + cast(1 as bigint unsigned) as o",
        "select cast(3000000000 as int) as o",
        "select cast(1e30 as bigint) as o",
        "select cast('9223372036854775808' as bigint) as o",
        "select abs(-9223372036854775807 - 1) as o",
        "select sum(x) as o from (values (99999999999999999999999999999999999999::decimal(38,0)), (99999999999999999999999999999999999999::decimal(38,0))) as v(x)",
        "select '99999999999999999999999999999999999999'::decimal(38,0) + 1 as o",
        "select x + x as o from (values ('80000000000000000000000000000000000000'::decimal(38,0))) as v(x)",
        "select x * 10 as o from (values ('80000000000000000000000000000000000000'::decimal(38,0))) as v(x)",
        "select sum(x) as o from (values ('80000000000000000000000000000000000000'::decimal(38,0)), (1::decimal(38,0)), ('80000000000000000000000000000000000000'::decimal(38,0))) as v(x)",
    ] {
        let message = fail(&client, table(&files, sql, "parquet").output_type("o", int())).await;
        assert!(message.starts_with("QueryFailed: ") || message.starts_with("BadSQL: the number"), "{sql}: {message}");
    }
    for (sql, wanted) in [
        ("select sum(m) as o from t", i64::MAX - 1),
        ("select sum(g) as o from t", 4),
        ("select sum(n) filter (where n < 10) as o from t", 6),
        ("select max(s) as o from (select sum(m) as s from t group by g)", i64::MAX - 1),
        ("select sum(g) + count(*) * 2 - 1 as o from t", 9),
        ("select -max(g) as o from t", -2),
        ("select sum(n) as o from t where false", 0),
    ] {
        let declared = if sql.ends_with("false") { optional(SimpleType::Integer) } else { int() };
        let result = succeed(&client, table(&files, sql, "parquet").output_type("o", declared)).await;
        match result.output::<Value>("o") {
            Value::None => assert_eq!(wanted, 0, "{sql}"),
            value => assert_eq!(value, Value::Int(wanted), "{sql}"),
        }
    }
    let spans = "select sum(s) as o from (select arrow_cast(9223372036854775000, 'Duration(Nanosecond)') as s from t)";
    refused(
        &client,
        table(&files, spans, "parquet").output_type("o", simple(SimpleType::Duration)),
        &["a sum is too large"],
    )
    .await;
    let spans = spans.replace("sum(s)", "avg(s)");
    let mean = succeed(&client, table(&files, &spans, "parquet").output_type("o", simple(SimpleType::Duration))).await;
    assert_eq!(mean.output::<TimeDelta>("o"), TimeDelta::microseconds(i64::MAX / 1000));
}

fn optional(kind: SimpleType) -> LiteralType {
    union(vec![simple(kind), simple(SimpleType::None)])
}

fn union(variants: Vec<LiteralType>) -> LiteralType {
    typed(Type::UnionType(UnionType { variants }))
}

#[tokio::test]
async fn numbers_in_sql_are_what_they_say() {
    let client = configured(json!({})).await;
    for sql in [
        "select 18446744073709551617 as o",
        "select 0.12345678901234567890 as o",
        "select 12345678901234567.89::decimal(38,2) as o",
    ] {
        refused(
            &client,
            task(sql).output_type("o", simple(SimpleType::Float)),
            &["BadSQL: the number", "more digits than a float"],
        )
        .await;
    }
    let exact = one(&client, "select '12345678901234567.89'::decimal(38,2) as o", simple(SimpleType::String)).await;
    assert_eq!(exact.output::<String>("o"), "12345678901234567.89");
    assert_eq!(one(&client, "select 0.1 as o", simple(SimpleType::Float)).await.output::<f64>("o"), 0.1);
}

#[tokio::test]
async fn values_come_out_equal_or_are_refused() {
    let client = configured(json!({})).await;
    use SimpleType::{Datetime, Duration, Float, Integer, String as Text, Struct};
    for (sql, declared, wanted) in [
        ("9223372036854775807", simple(Integer), Value::Int(i64::MAX)),
        ("arrow_cast(9223372036854775808, 'UInt64')", simple(Float), Value::Float(9223372036854775808.0)),
        ("arrow_cast(18446744073709551615, 'UInt64')", simple(Integer), Value::None),
        ("arrow_cast(18446744073709551615, 'UInt64')", simple(Float), Value::None),
        ("9007199254740993", simple(Float), Value::None),
        ("9007199254740992", simple(Float), Value::Float(9007199254740992.0)),
        ("9223372036854775807", simple(Float), Value::None),
        ("arrow_cast(arrow_cast(7, 'Int64'), 'Dictionary(Int32, Int64)')", simple(Integer), Value::Int(7)),
        ("arrow_cast(arrow_cast(2.5, 'Float64'), 'Dictionary(Int32, Float64)')", simple(Float), Value::Float(2.5)),
        ("arrow_cast('x', 'Dictionary(Int32, Utf8)')", simple(Text), Value::Str("x".into())),
        ("arrow_cast('2024-05-06T07:08:09.123456789', 'Timestamp(Nanosecond, None)')", simple(Datetime), Value::None),
        (
            "arrow_cast('2024-05-06T07:08:09.123456', 'Timestamp(Nanosecond, None)')",
            simple(Datetime),
            at("2024-05-06T07:08:09.123456Z"),
        ),
        (
            "arrow_cast('0001-01-01T00:00:00', 'Timestamp(Microsecond, None)')",
            simple(Datetime),
            at("0001-01-01T00:00:00Z"),
        ),
        (
            "arrow_cast('9999-12-31T23:59:59.999999', 'Timestamp(Microsecond, None)')",
            simple(Datetime),
            at("9999-12-31T23:59:59.999999Z"),
        ),
        ("arrow_cast(253402300800, 'Timestamp(Second, None)')", simple(Datetime), Value::None),
        ("arrow_cast(-62135596801, 'Timestamp(Second, None)')", simple(Datetime), Value::None),
        ("arrow_cast(9223372036854775807, 'Timestamp(Second, None)')", simple(Datetime), Value::None),
        ("arrow_cast(arrow_cast(100000000, 'Int32'), 'Date32')", simple(Datetime), Value::None),
        ("arrow_cast(arrow_cast(-1, 'Int32'), 'Date32')", simple(Datetime), at("1969-12-31T00:00:00Z")),
        ("arrow_cast(1001, 'Duration(Nanosecond)')", simple(Duration), Value::None),
        ("arrow_cast(1000, 'Duration(Nanosecond)')", simple(Duration), Value::Duration(TimeDelta::microseconds(1))),
        (
            "arrow_cast(9467280000, 'Duration(Second)')",
            simple(Duration),
            Value::Duration(TimeDelta::seconds(9_467_280_000)),
        ),
        ("arrow_cast(315576000001, 'Duration(Second)')", simple(Duration), Value::None),
        (
            "interval '1 day 1 microsecond'",
            simple(Duration),
            Value::Duration(TimeDelta::days(1) + TimeDelta::microseconds(1)),
        ),
        ("interval '1 month'", simple(Duration), Value::None),
        ("'12345678901234567890.12'::decimal(38,2)", simple(Text), Value::Str("12345678901234567890.12".into())),
        ("'12345678901234567890.00'::decimal(38,2)", simple(Integer), Value::None),
        ("'120.00'::decimal(38,2)", simple(Integer), Value::Int(120)),
        ("'120.50'::decimal(38,2)", simple(Float), Value::Float(120.5)),
        ("'-0.0000000001'::decimal(38,10)", simple(Float), Value::Float(-1e-10)),
        ("'0.00'::decimal(38,2)", simple(Float), Value::Float(0.0)),
        ("'9007199254740992'::decimal(38,0)", simple(Float), Value::Float(9007199254740992.0)),
        ("'9007199254740993'::decimal(38,0)", simple(Float), Value::None),
        ("'12345678901234567890.0123456789'::decimal(38,10)", simple(Float), Value::None),
        ("'100'::decimal(10,0)", simple(Integer), Value::Int(100)),
        ("'0.5'::decimal(10,1)", simple(Integer), Value::None),
        ("arrow_cast('07:08:09.000001', 'Time64(Microsecond)')", simple(Text), Value::Str("07:08:09.000001".into())),
        (
            "'{\"id\": 9007199254740993, \"a\": 1.0, \"big\": 18446744073709551615}'",
            simple(Struct),
            Value::Json(json!({"id": 9007199254740993_i64, "a": 1.0, "big": u64::MAX})),
        ),
        ("'{\"id\": 18446744073709551616}'", simple(Struct), Value::None),
        ("'{\"id\": 1, \"id\": 2}'", simple(Struct), Value::None),
        ("2.5", union(vec![simple(Integer), simple(Float)]), Value::Float(2.5)),
        ("'1.5'::decimal(10,1)", union(vec![simple(Integer), simple(Float)]), Value::Float(1.5)),
        ("true", union(vec![simple(Integer), simple(SimpleType::Boolean)]), Value::Bool(true)),
    ] {
        let query = task(&format!("select {sql} as o")).output_type("o", declared);
        match wanted {
            Value::None => {
                let message = fail(&client, query).await;
                assert!(message.starts_with("OutputMismatch: output \"o\", column \"o\" ("), "{sql}: {message}");
            }
            wanted => assert_eq!(succeed(&client, query).await.output::<Value>("o"), wanted, "{sql}"),
        }
    }
}

fn at(text: &str) -> Value {
    Value::Datetime(text.parse::<DateTime<Utc>>().unwrap())
}

#[tokio::test]
async fn a_dict_holds_what_it_was_made_of() {
    let client = configured(json!({})).await;
    let sql = "select named_struct('z', 9007199254740993, 'a', 1.0, 'd', '1.10'::decimal(38,10), 'u', arrow_cast(18446744073709551615, 'UInt64'),
        'l', ['2.50'::decimal(10,2), null], 'm', map(['k'], ['3.50'::decimal(10,2)]), 'day', date '2024-05-06', 'none', null,
        'dict', arrow_cast(arrow_cast(7, 'Int64'), 'Dictionary(Int32, Int64)'), 'in', named_struct('x', [named_struct('y', 1)])) as o";
    let wanted = r#"{"z":9007199254740993,"a":1.0,"d":"1.1000000000","u":18446744073709551615,"l":["2.50",null],"m":{"k":"3.50"},"day":"2024-05-06","none":null,"dict":7,"in":{"x":[{"y":1}]}}"#;
    let found = one(&client, sql, simple(SimpleType::Struct)).await;
    assert_eq!(found.output::<agenthost::Json<Json>>("o").0.to_string(), wanted);

    let found = one(
        &client,
        "select named_struct('x', 'NaN'::double, 'y', [-'Infinity'::double], 'b', arrow_cast('ab', 'Binary')) as o",
        simple(SimpleType::Struct),
    )
    .await;
    let Value::MsgPack(dict) = found.output::<Value>("o") else { panic!("{:?}", found.0) };
    assert!(dict["x"].as_f64().is_some_and(f64::is_nan), "{dict:?}");
    assert_eq!(dict["y"][0].as_f64(), Some(f64::NEG_INFINITY));
    assert_eq!(dict["b"].as_slice(), Some(&b"ab"[..]));

    let keys = one(&client, "select map([1, 2], ['a', 'b']) as o", simple(SimpleType::Struct)).await;
    assert_eq!(keys.output::<agenthost::Json<Json>>("o").0, json!({"1": "a", "2": "b"}));
    for (sql, said) in [
        (
            "select named_struct('t', arrow_cast(253402300800, 'Timestamp(Second, None)')) as o",
            r#"has an entry "t" that is Timestamp(s)"#,
        ),
        ("select map([arrow_cast('a', 'Binary')], [1]) as o", "has a key of the type Binary"),
    ] {
        refused(&client, task(sql).output_type("o", simple(SimpleType::Struct)), &["output \"o\"", said]).await;
    }
    let typed = typed(Type::MapValueType(Box::new(simple(SimpleType::Integer))));
    let map = one(&client, "select map(['a', 'b'], [1, 2]) as o", typed).await;
    assert_eq!(map.output::<std::collections::BTreeMap<String, i64>>("o"), [("a".into(), 1), ("b".into(), 2)].into());
}

#[tokio::test]
async fn a_list_is_the_column_or_the_row_that_is_one() {
    let client = configured(json!({})).await;
    let int = || simple(SimpleType::Integer);
    for sql in [
        "select [1, 2] as o",
        "select arrow_cast([1, 2], 'LargeList(Int64)') as o",
        "select arrow_cast([1, 2], 'FixedSizeList(2, Int64)') as o",
        "select * from (values (1), (2)) as t(o) order by 1",
    ] {
        assert_eq!(one(&client, sql, list_of(int())).await.output::<Vec<i64>>("o"), [1, 2], "{sql}");
    }
    for sql in ["select [[1], [2, 3]] as o", "select * from (values ([1]), ([2, 3])) as t(o) order by 1"] {
        assert_eq!(
            one(&client, sql, list_of(list_of(int()))).await.output::<Vec<Vec<i64>>>("o"),
            [vec![1], vec![2, 3]],
            "{sql}"
        );
    }
    assert_eq!(one(&client, "select [1] as o", list_of(list_of(int()))).await.output::<Vec<Vec<i64>>>("o"), [[1]]);
}

#[tokio::test]
async fn parameters_are_exact_or_refused() {
    let client = configured(json!({})).await;
    let long = TimeDelta::days(365 * 300);
    let same = [
        (at("9999-12-31T23:59:59.999999Z"), simple(SimpleType::Datetime)),
        (Value::Duration(long), simple(SimpleType::Duration)),
        (Value::Duration(-long), simple(SimpleType::Duration)),
        (Value::List(vec![Value::Float(1.0), Value::Float(2.5)]), list_of(simple(SimpleType::Float))),
        (
            Value::List(vec![Value::List(vec![]), Value::List(vec![Value::Int(1)])]),
            list_of(list_of(simple(SimpleType::Integer))),
        ),
        (Value::List(vec![Value::None, Value::Int(1)]), list_of(optional(SimpleType::Integer))),
        (
            Value::Json(json!({"z": 9007199254740993_i64, "a": 1.0, "u": u64::MAX, "<": [true, null]})),
            simple(SimpleType::Struct),
        ),
        (Value::Float(-0.0), simple(SimpleType::Float)),
        (Value::Float(f64::INFINITY), simple(SimpleType::Float)),
    ];
    for (value, declared) in same {
        let result =
            succeed(&client, task("select $v as o").input("v", value.clone()).output_type("o", declared)).await;
        assert_eq!(format!("{:?}", result.output::<Value>("o")), format!("{value:?}"));
    }
    let nanos = at("2024-05-06T07:08:09.123456789Z");
    for (value, sql, wanted) in [
        (nanos.clone(), "$v", "2024-05-06T07:08:09.123456789Z"),
        (Value::List(vec![nanos, at("2024-05-06T07:08:09Z")]), "$v[1]", "2024-05-06T07:08:09.123456789Z"),
        (Value::Duration(TimeDelta::nanoseconds(1)), "$v", "0 days 0 hours 0 mins 0.000000001 secs"),
    ] {
        let query = task(&format!("select arrow_cast({sql}, 'Utf8') as o")).input("v", value);
        let result = succeed(&client, query.output_type("o", simple(SimpleType::String))).await;
        assert_eq!(result.output::<String>("o"), wanted);
    }
    let mixed = |items: Vec<Value>| {
        task("select $v as o").input("v", Value::List(items)).output_type("o", list_of(simple(SimpleType::Float)))
    };
    let result = succeed(&client, mixed(vec![Value::Int(1), Value::Float(2.5)])).await;
    assert_eq!(result.output::<Vec<f64>>("o"), [1.0, 2.5]);
    for (items, said) in [
        (vec![Value::Bool(true), Value::Int(2)], "has an item 1 that is an int"),
        (vec![Value::Int(1), Value::Str("x".into())], "has an item 1 that is a str"),
        (vec![Value::Int((1 << 53) + 1), Value::Float(2.5)], "has an item 0 that is 9007199254740993"),
        (vec![at("2024-05-06T07:08:09.000000001Z"), at("9999-01-01T00:00:00Z")], "has an item 1 that is"),
    ] {
        refused(&client, mixed(items), &["BadInput: input \"v\" ", said]).await;
    }
    for (value, said) in [
        (at("9999-12-31T23:59:59.999999999Z"), "is 9999-12-31T23:59:59.999999999Z"),
        (
            Value::Duration(long + TimeDelta::nanoseconds(1)),
            "a timedelta with nanoseconds must be shorter than 292 years",
        ),
        (
            Value::Map([("x".into(), Value::Float(f64::NAN))].into()),
            r#"has an entry "x" that is the float NaN, which JSON does not have"#,
        ),
    ] {
        refused(&client, task("select $v as o").input("v", value), &["BadInput: input \"v\" ", said]).await;
    }
    let span = [("x".to_string(), Value::Duration(TimeDelta::days(-109_500) - TimeDelta::microseconds(1)))].into();
    let text = task("select $v as o").input("v", Value::Map(span)).output_type("o", simple(SimpleType::String));
    assert_eq!(succeed(&client, text).await.output::<String>("o"), r#"{"x":-9460800000.000001}"#);
}

#[tokio::test]
async fn dicts_of_msgpack_go_in_whole() {
    let client = configured(json!({})).await;
    let packed = |bytes: &[u8]| Value::Binary { bytes: bytes.to_vec(), tag: "msgpack".into() };
    // {"b": bytes "ab", "t": an instant, 1: 2.0}
    let bytes = b"\x83\xa1b\xc4\x02ab\xa1t\xd6\xff\x00\x00\x00\x01\x01\xcb\x40\x00\x00\x00\x00\x00\x00\x00";
    let query = task("select $v as o").input("v", packed(bytes)).output_type("o", simple(SimpleType::String));
    let found = succeed(&client, query).await.output::<String>("o");
    assert_eq!(found, r#"{"b":"YWI=","t":"1970-01-01T00:00:01Z","1":2.0}"#);
    let nan = b"\x81\xa1x\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00";
    refused(
        &client,
        task("select $v as o").input("v", packed(nan)),
        &["input \"v\" has an entry \"x\" that is the float NaN"],
    )
    .await;
}

#[tokio::test]
async fn inputs_that_flyte_put_into_storage_are_read() {
    let folder = tempdir().unwrap();
    let client = reading(folder.path()).await;
    let int = |n: i64| agenthost::encode(&Value::Int(n), None).unwrap();
    let list = Literal {
        value: Some(literal::Value::Collection(LiteralCollection { literals: vec![int(1), int(2)] })),
        ..Default::default()
    };
    std::fs::write(folder.path().join("list.pb"), list.encode_to_vec()).unwrap();
    std::fs::write(folder.path().join("broken.pb"), "no literal").unwrap();
    let offloaded = |uri: String| {
        let metadata = LiteralOffloadedMetadata { uri, ..Default::default() };
        Literal { value: Some(literal::Value::OffloadedMetadata(metadata)), ..Default::default() }
    };
    let of = |uri: String, sql: &str| {
        let plain = task(sql).output_type("o", list_of(simple(SimpleType::Integer)));
        plain.literal("v", offloaded(uri))
    };
    let here = |name: &str| format!("{}/{name}", real(folder.path()));
    let result = succeed(&client, of(here("list.pb"), "select $v as o")).await;
    assert_eq!(result.output::<Vec<i64>>("o"), [1, 2]);
    refused(
        &client,
        of(here("broken.pb"), "select $v as o"),
        &["BadInput: input \"v\", which is offloaded: ", "is no literal"],
    )
    .await;
    refused(&client, of(here("gone.pb"), "select $v as o"), &["NotFound: ", "gone.pb is not there"]).await;
    let within = |item: Literal| Literal {
        value: Some(literal::Value::Collection(LiteralCollection { literals: vec![item] })),
        ..Default::default()
    };
    std::fs::write(folder.path().join("itself.pb"), offloaded(here("itself.pb")).encode_to_vec()).unwrap();
    std::fs::write(folder.path().join("within.pb"), within(offloaded(here("within.pb"))).encode_to_vec()).unwrap();
    for name in ["itself.pb", "within.pb"] {
        refused(&client, of(here(name), "select $v as o"), &["BadInput: input \"v\"", name, "through 16 others"]).await;
    }
    let hashed = Literal { hash: "one".into(), ..list.clone() };
    std::fs::write(folder.path().join("hashed.pb"), hashed.encode_to_vec()).unwrap();
    for (size_bytes, hash) in [(3, ""), (hashed.encoded_len() as u64, "another")] {
        let metadata = LiteralOffloadedMetadata { uri: here("hashed.pb"), size_bytes, ..Default::default() };
        let value = Some(literal::Value::OffloadedMetadata(metadata));
        let changed = Literal { value, hash: hash.into(), ..Default::default() };
        let query = task("select $v as o").literal("v", changed).output_type("o", list_of(simple(SimpleType::Integer)));
        refused(&client, query, &["BadInput: input \"v\"", "hashed.pb has ", "it was changed since"]).await;
    }
    refused(&client, of("/etc/passwd".into(), "select $v as o"), &["NotAllowed: ", "/etc/passwd is not within"]).await;
    // One that the query does not use is not touched.
    assert_eq!(succeed(&client, of("/etc/passwd".into(), "select [3] as o")).await.output::<Vec<i64>>("o"), [3]);
    let many = Literal {
        value: Some(literal::Value::Map(LiteralMap {
            literals: [("k".to_string(), offloaded(here("list.pb")))].into(),
        })),
        ..Default::default()
    };
    let text = task("select $v as o").literal("v", many).output_type("o", simple(SimpleType::String));
    assert_eq!(succeed(&client, text).await.output::<String>("o"), r#"{"k":[1,2]}"#);
}

#[tokio::test]
async fn csv_datasets_are_where_flytekit_looks() {
    let folder = tempdir().unwrap();
    let client = reading(folder.path()).await;
    let prefix = format!("{}/out", real(folder.path()));
    let rows = "select * from (values (1, 'a'), (2, 'b')) as t(n, s) order by n";
    let table: StructuredDataset =
        succeed(&client, task(rows).output_type("o", a_csv_dataset()).output_prefix(&prefix)).await.output("o");
    assert_eq!((table.uri.as_str(), table.format.as_str()), (format!("{prefix}/o").as_str(), "csv"));
    assert_eq!(std::fs::read_to_string(format!("{prefix}/o/.csv")).unwrap(), "n,s\n1,a\n2,b\n");
    let again = task("select sum(n) as n from t").input("t", table).output_type("n", simple(SimpleType::Integer));
    assert_eq!(succeed(&client, again).await.output::<i64>("n"), 3);
    let undeclared = StructuredDataset { uri: format!("{prefix}/o"), ..Default::default() };
    let again = task("select sum(n) as n from t").input("t", undeclared).output_type("n", simple(SimpleType::Integer));
    assert_eq!(succeed(&client, again).await.output::<i64>("n"), 3);
    let to = json!({"destination": format!("{prefix}/there/")});
    let table: StructuredDataset =
        succeed(&client, task(rows).custom(to).output_type("o", a_csv_dataset())).await.output("o");
    assert_eq!(table.uri, format!("{prefix}/there/"));
    assert!(std::path::Path::new(&format!("{prefix}/there/.csv")).exists());
}

#[tokio::test]
async fn a_file_of_json_has_no_nan() {
    let folder = tempdir().unwrap();
    let client = reading(folder.path()).await;
    let prefix = format!("{}/out", real(folder.path()));
    for column in ["'NaN'::double", "['Infinity'::double]", "named_struct('y', 'NaN'::float)"] {
        let query = task(&format!("select {column} as x")).output_type("o", a_file("json")).output_prefix(&prefix);
        refused(&client, query, &["writing", r#"the column "x" has NaN or infinity"#]).await;
    }
    let query = task("select [1.5, null] as x").output_type("o", a_file("json")).output_prefix(&prefix);
    succeed(&client, query).await;
}

#[tokio::test]
async fn lists_in_parquet_are_widened_item_by_item() {
    let files = tempdir().unwrap();
    let client = reading(files.path()).await;
    let ints = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None])]);
    let floats =
        ListArray::from_iter_primitive::<datafusion::arrow::datatypes::Float64Type, _, _>([Some(vec![Some(2.5)])]);
    parquet(&files, "a.parquet", vec![("l", Arc::new(ints))]);
    parquet(&files, "b.parquet", vec![("l", Arc::new(floats))]);
    let found = rows(&client, table(&files, "select l from t order by l[1]", "parquet")).await;
    assert_eq!(found, [json!({"l": [1.0, null]}), json!({"l": [2.5]})]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, of use in a release build alone: cargo test --release -p retrieval many_files -- --ignored --nocapture"]
async fn many_files_beside_datafusion_alone() {
    let files = tempdir().unwrap();
    let client = reading(files.path()).await;
    for i in 0..1000_i64 {
        let ints = Int64Array::from_iter_values((0..10_000).map(|n| n * i % 1013));
        let texts = StringArray::from_iter_values((0..10_000).map(|n| format!("{}", n % 97)));
        parquet(&files, &format!("{i:04}.parquet"), vec![("n", Arc::new(ints)), ("s", Arc::new(texts))]);
    }
    let sql = "select s, sum(n) as n from t where n > 3 group by s order by s limit 3";
    let (mut own, mut plain) = (f64::MAX, f64::MAX);
    for _ in 0..5 {
        let begun = std::time::Instant::now();
        rows(&client, table(&files, sql, "parquet")).await;
        own = own.min(begun.elapsed().as_secs_f64());
        let begun = std::time::Instant::now();
        let context = datafusion::prelude::SessionContext::new();
        context.register_parquet("t", real(files.path()), Default::default()).await.unwrap();
        context.sql(sql).await.unwrap().collect().await.unwrap();
        plain = plain.min(begun.elapsed().as_secs_f64());
    }
    println!("{own:.3} s, DataFusion alone {plain:.3} s: {:.2}", own / plain);
}
