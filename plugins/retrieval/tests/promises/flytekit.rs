//! Tasks as flytekit compiles them.

use std::path::Path;
use std::process::Command;

use agenthost::contract::flyteidl::core::{LiteralMap, SimpleType, TaskTemplate};
use agenthost::testing::TestTask;
use agenthost::{Json, StructuredDataset};
use prost::Message;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::*;

/// What a script of these tests prints.
fn python(script: &str, arguments: &[&str]) -> Vec<u8> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let venv = Command::new(here.join("../../scripts/venv")).arg("flytekit").output().expect("scripts/venv");
    assert!(venv.status.success(), "scripts/venv flytekit: {}", String::from_utf8_lossy(&venv.stderr));
    let made = Command::new(Path::new(String::from_utf8_lossy(&venv.stdout).trim()).join("python"))
        .arg(here.join("tests/promises").join(script))
        .args(arguments)
        .output()
        .expect("python");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

fn compile(folder: &Path) {
    python("tasks.py", &[&folder.to_string_lossy(), &data("airlines.csv")]);
}

#[tokio::test]
async fn tasks_of_flytekit_run() {
    let folder = tempdir().unwrap();
    compile(folder.path());
    let compiled = |name: &str| {
        let template = std::fs::read(folder.path().join(name)).expect("a template");
        TestTask::of(TaskTemplate::decode(&*template).expect("a template"), LiteralMap::default())
    };
    let flights = || dataset(data("flights.parquet"));
    let client = reading(folder.path()).await;

    let far = succeed(&client, compiled("far").input("flights", flights()).input("least", 2000.0)).await;
    let (names, miles): (Vec<String>, Vec<f64>) = (far.output("name"), far.output("miles"));
    assert!(
        !names.is_empty() && names.len() == miles.len() && miles.iter().all(|m| *m >= 2000.),
        "{names:?} {miles:?}"
    );

    let rows = succeed(&client, compiled("rows").input("airlines", file(data("airlines.csv")))).await;
    let rows: Vec<Json<Value>> = rows.output("rows");
    let wanted = [
        json!({"carrier": "AA", "name": "American Airlines Inc."}),
        json!({"carrier": "UA", "name": "United Air Lines Inc."}),
    ];
    assert_eq!(rows.into_iter().map(|row| row.0).collect::<Vec<_>>(), wanted);

    let prefix = format!("{}/out", real(folder.path()));
    let written = succeed(&client, compiled("dataset").input("flights", flights()).output_prefix(&prefix)).await;
    assert_eq!(written.output::<StructuredDataset>("results").uri, format!("{prefix}/results/00000"));

    let plain = succeed(&client, compiled("plain").input("flights", flights()).input("least", 2000)).await;
    assert!(plain.output::<i64>("n") > 0);
}

/// What pyarrow and flytekit read of each type that DataFusion makes: its column's type, and its values.
#[tokio::test]
async fn readers_see_the_types_and_values_of_a_dataset() {
    let folder = tempdir().unwrap();
    let client = reading(folder.path()).await;
    let prefix = format!("{}/out", real(folder.path()));
    let time = "datetime.datetime(2024, 5, 6, 7, 8, 9";
    let types = [
        ("bool", "true", "bool", "[True]".to_string()),
        ("i8", "arrow_cast(-128, 'Int8')", "int8", "[-128]".into()),
        ("u8", "arrow_cast(255, 'UInt8')", "uint8", "[255]".into()),
        ("i16", "arrow_cast(-32768, 'Int16')", "int16", "[-32768]".into()),
        ("u16", "arrow_cast(65535, 'UInt16')", "uint16", "[65535]".into()),
        ("i32", "arrow_cast(-2147483648, 'Int32')", "int32", "[-2147483648]".into()),
        ("u32", "arrow_cast(4294967295, 'UInt32')", "uint32", "[4294967295]".into()),
        ("i64", "9223372036854775807", "int64", "[9223372036854775807]".into()),
        ("u64", "arrow_cast(18446744073709551615, 'UInt64')", "uint64", "[18446744073709551615]".into()),
        ("f16", "arrow_cast(0.5, 'Float16')", "float", "[0.5]".into()),
        ("f32", "arrow_cast(0.25, 'Float32')", "float", "[0.25]".into()),
        ("f64", "5e-324", "double", "[5e-324]".into()),
        ("nan", "'NaN'::double", "double", "[nan]".into()),
        ("d32", "arrow_cast('1.10', 'Decimal32(5, 2)')", "decimal128(5, 2)", "[Decimal('1.10')]".into()),
        ("d64", "arrow_cast('1.10', 'Decimal64(15, 2)')", "decimal128(15, 2)", "[Decimal('1.10')]".into()),
        (
            "d128",
            "'12345678901234567890123456789012345.678'::decimal(38,3)",
            "decimal128(38, 3)",
            "[Decimal('12345678901234567890123456789012345.678')]".into(),
        ),
        ("d256", "arrow_cast('1.10', 'Decimal256(50, 2)')", "decimal256(50, 2)", "[Decimal('1.10')]".into()),
        ("text", "'é'", "string", "['é']".into()),
        ("large", "arrow_cast('x', 'LargeUtf8')", "large_string", "['x']".into()),
        ("view", "arrow_cast('x', 'Utf8View')", "string", "['x']".into()),
        ("bin", "arrow_cast('x', 'Binary')", "binary", "[b'x']".into()),
        ("lbin", "arrow_cast('x', 'LargeBinary')", "large_binary", "[b'x']".into()),
        ("vbin", "arrow_cast('x', 'BinaryView')", "binary", "[b'x']".into()),
        (
            "fbin",
            "arrow_cast(arrow_cast('x', 'Binary'), 'FixedSizeBinary(1)')",
            "fixed_size_binary[1]",
            "[b'x']".into(),
        ),
        ("day", "date '9999-12-31'", "date32[day]", "[datetime.date(9999, 12, 31)]".into()),
        (
            "day64",
            "arrow_cast(date '2024-05-06', 'Date64')",
            "timestamp[ms]",
            "[datetime.datetime(2024, 5, 6, 0, 0)]".into(),
        ),
        ("s", "arrow_cast('2024-05-06T07:08:09', 'Timestamp(Second, None)')", "timestamp[ms]", format!("[{time})]")),
        ("secs", "to_timestamp_seconds('2024-05-06T07:08:09')", "timestamp[ms]", format!("[{time})]")),
        ("ms", "to_timestamp_millis('2024-05-06T07:08:09.5')", "timestamp[ms]", format!("[{time}, 500000)]")),
        ("us", "to_timestamp_micros('2024-05-06T07:08:09.5')", "timestamp[us]", format!("[{time}, 500000)]")),
        (
            "ns",
            "to_timestamp_nanos('2024-05-06T07:08:09.5')",
            "timestamp[ns]",
            "[Timestamp('2024-05-06 07:08:09.500000')]".into(),
        ),
        (
            "utc",
            "arrow_cast('2024-05-06T07:08:09Z', 'Timestamp(Second, Some(\"UTC\"))')",
            "timestamp[ms, tz=UTC]",
            "".into(),
        ),
        ("t32", "arrow_cast('07:08:09', 'Time32(Second)')", "time32[ms]", "[datetime.time(7, 8, 9)]".into()),
        (
            "t64",
            "arrow_cast('07:08:09.5', 'Time64(Microsecond)')",
            "time64[us]",
            "[datetime.time(7, 8, 9, 500000)]".into(),
        ),
        (
            "span",
            "arrow_cast(9467280000, 'Duration(Second)')",
            "duration[s]",
            "[datetime.timedelta(days=109575)]".into(),
        ),
        (
            "uspan",
            "arrow_cast(1, 'Duration(Microsecond)')",
            "duration[us]",
            "[datetime.timedelta(microseconds=1)]".into(),
        ),
        ("dict", "arrow_cast(arrow_cast(7, 'Int64'), 'Dictionary(Int32, Int64)')", "int64", "[7]".into()),
        ("sdict", "arrow_cast('x', 'Dictionary(Int8, Utf8)')", "string", "['x']".into()),
        ("list", "[1, null]", "list<item: int64>", "[[1, None]]".into()),
        ("llist", "arrow_cast([1], 'LargeList(Int64)')", "large_list<item: int64>", "[[1]]".into()),
        ("flist", "arrow_cast([1, 2], 'FixedSizeList(2, Int64)')", "list<item: int64>", "[[1, 2]]".into()),
        (
            "times",
            "[arrow_cast('2024-05-06T07:08:09', 'Timestamp(Second, None)')]",
            "list<item: timestamp[ms]>",
            format!("[[{time})]]"),
        ),
        (
            "struct",
            "named_struct('b', 1, 'a', arrow_cast('x', 'Dictionary(Int8, Utf8)'))",
            "struct<b: int64, a: string>",
            "[{'b': 1, 'a': 'x'}]".into(),
        ),
        ("map", "map(['k'], [1])", "map<string, int64 ('map')>", "[[('k', 1)]]".into()),
        ("null", "null", "null", "[None]".into()),
    ];
    let query = types.iter().map(|(name, sql, ..)| format!("{sql} as \"{name}\"")).collect::<Vec<_>>().join(", ");
    let dataset = task(&format!("select {query}")).output_type("o", a_dataset()).output_prefix(&prefix);
    let parquet: StructuredDataset = succeed(&client, dataset).await.output("o");
    let rows = task("select 'a' as s, 1 as n").output_type("o", a_csv_dataset()).output_prefix(&format!("{prefix}2"));
    let csv: StructuredDataset = succeed(&client, rows).await.output("o");

    let made = format!("{}/made", real(folder.path()));
    let said: Value = serde_json::from_slice(&python("readback.py", &[&parquet.uri, &csv.uri, &made])).expect("JSON");
    for (name, sql, kind, values) in types {
        let found = &said["columns"][name];
        assert_eq!(found[0], json!(kind), "{name}: {sql}");
        assert!(values.is_empty() || found[1] == json!(values), "{name}: {sql}: {found}");
    }
    assert_eq!(said["rows"], json!([{"s": "a", "n": 1}]));
    let made =
        StructuredDataset { uri: said["made"].as_str().unwrap().into(), format: "csv".into(), columns: Vec::new() };
    let again = task("select code, n from t order by n")
        .input("t", made)
        .output_type("rows", list_of(simple(SimpleType::Struct)));
    let found: Vec<Json<Value>> = succeed(&client, again).await.output("rows");
    assert_eq!(
        found.into_iter().map(|row| row.0).collect::<Vec<_>>(),
        [json!({"code": "01234", "n": 1}), json!({"code": "x", "n": 2})]
    );

    for sql in ["interval '1 month'", "interval '1 day'", "[interval '1 day']"] {
        let query = task(&format!("select {sql} as odd")).output_type("o", a_dataset()).output_prefix(&prefix);
        let message = fail(&client, query).await;
        assert!(message.starts_with("OutputMismatch: the column \"odd\" is "), "{sql}: {message}");
    }
}
