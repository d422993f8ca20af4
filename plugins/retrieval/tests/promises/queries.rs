//! Files as tables, inputs as parameters, results as outputs.

use agenthost::contract::flyteidl::core::SimpleType;
use agenthost::{File, StructuredDataset, Value};
use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};
use tempfile::tempdir;

use crate::support::*;

#[tokio::test]
async fn a_dataset_a_file_and_parameters_make_rows() {
    let folder = tempdir().unwrap();
    let client = reading(folder.path()).await;
    let query = "select a.name, count(*) as n, avg(f.distance) as mean
        from flights f join airlines a on a.carrier = f.carrier
        where f.distance > $least group by a.name order by n desc limit 3";
    let result = succeed(
        &client,
        task(query)
            .input("flights", dataset(data("flights.parquet")))
            .input("airlines", file(data("airlines.csv")))
            .input("least", 500)
            .output_type("name", list_of(simple(SimpleType::String)))
            .output_type("n", list_of(simple(SimpleType::Integer)))
            .output_type("mean", list_of(simple(SimpleType::Float))),
    )
    .await;
    let (names, counts): (Vec<String>, Vec<i64>) = (result.output("name"), result.output("n"));
    assert_eq!((names.len(), counts.len()), (3, 3));
    assert!(counts[0] >= counts[1] && counts[2] > 0, "{counts:?}");
    assert!(result.output::<Vec<f64>>("mean").iter().all(|mean| *mean > 500.));
    let info = result.info();
    assert_eq!((&info["rows"], &info["files"]), (&json!(3), &json!(2)));
    assert!(info["bytes_scanned"].as_u64().unwrap() > 1000 && info["elapsed_seconds"].as_f64().unwrap() > 0., "{info}");
    assert!(result.message().starts_with("3 rows from 2 files, "), "{}", result.message());
}

#[tokio::test]
async fn every_kind_of_value_comes_out() {
    let client = configured(json!({})).await;
    let query = "select 7 as n, 1.5::double as x, 'a' as s, true as b, timestamp '2024-05-06T07:08:09Z' as at,
        arrow_cast(1500, 'Duration(Millisecond)') as span, date '2024-05-06' as day, 12.50::decimal(10,2) as price,
        12.00::decimal(10,2) as whole, 12.50::decimal(10,2) as text, null as nothing, [1, 2] as items,
        named_struct('a', 1, 'b', 'x') as d";
    let optional = typed(agenthost::contract::flyteidl::core::literal_type::Type::UnionType(
        agenthost::contract::flyteidl::core::UnionType {
            variants: vec![simple(SimpleType::Integer), simple(SimpleType::None)],
        },
    ));
    let result = succeed(
        &client,
        task(query)
            .output_type("n", simple(SimpleType::Integer))
            .output_type("x", simple(SimpleType::Float))
            .output_type("s", simple(SimpleType::String))
            .output_type("b", simple(SimpleType::Boolean))
            .output_type("at", simple(SimpleType::Datetime))
            .output_type("span", simple(SimpleType::Duration))
            .output_type("day", simple(SimpleType::Datetime))
            .output_type("price", simple(SimpleType::Float))
            .output_type("whole", simple(SimpleType::Integer))
            .output_type("text", simple(SimpleType::String))
            .output_type("nothing", optional)
            .output_type("d", simple(SimpleType::Struct)),
    )
    .await;
    assert_eq!(result.output::<i64>("n"), 7);
    assert_eq!(result.output::<f64>("x"), 1.5);
    assert_eq!(result.output::<String>("s"), "a");
    assert!(result.output::<bool>("b"));
    assert_eq!(result.output::<DateTime<Utc>>("at").to_rfc3339(), "2024-05-06T07:08:09+00:00");
    assert_eq!(result.output::<chrono::TimeDelta>("span").num_milliseconds(), 1500);
    assert_eq!(result.output::<DateTime<Utc>>("day").to_rfc3339(), "2024-05-06T00:00:00+00:00");
    assert_eq!(result.output::<f64>("price"), 12.5);
    assert_eq!(result.output::<i64>("whole"), 12);
    assert_eq!(result.output::<String>("text"), "12.50");
    assert_eq!(result.output::<Value>("nothing"), Value::None);
    assert_eq!(result.output::<agenthost::Json<Json>>("d").0, json!({"a": 1, "b": "x"}));

    let only =
        succeed(&client, task("select [1, 2] as items").output_type("items", list_of(simple(SimpleType::Integer))))
            .await;
    assert_eq!(only.output::<Vec<i64>>("items"), [1, 2]);
}

#[tokio::test]
async fn a_single_output_takes_an_only_column_and_dicts_take_rows() {
    let client = configured(json!({})).await;
    let result =
        succeed(&client, task("select count(*) from (values (1), (2))").output_type("o", simple(SimpleType::Integer)))
            .await;
    assert_eq!(result.output::<i64>("o"), 2);
    let rows = "select * from (values (1, 'a'), (2, null)) as t(n, s) order by n";
    let result = succeed(&client, task(rows).output_type("rows", list_of(simple(SimpleType::Struct)))).await;
    let found: Vec<agenthost::Json<Json>> = result.output("rows");
    assert_eq!(
        found.into_iter().map(|j| j.0).collect::<Vec<_>>(),
        [json!({"n": 1, "s": "a"}), json!({"n": 2, "s": null})]
    );
    let result = succeed(&client, task("select 1 as n, 'x' as s").output_type("row", simple(SimpleType::Struct))).await;
    assert_eq!(result.output::<agenthost::Json<Json>>("row").0, json!({"n": 1, "s": "x"}));
    assert_eq!(succeed(&client, task("values (1), (2)")).await.info()["rows"], 2);
}

#[tokio::test]
async fn every_kind_of_parameter_goes_in() {
    let client = configured(json!({})).await;
    let at: DateTime<Utc> = "2024-05-06T07:08:09Z".parse().unwrap();
    let query = "select {{ .inputs.n }} + 1 as n, '{{ .inputs.s }}' as s, $x as x, $b as b, $at as at, array_length($items) as items,
        $none as none, $json as json";
    let result = succeed(
        &client,
        task(query)
            .input("n", 41)
            .input("s", "it's; drop table x --")
            .input("x", 2.5)
            .input("b", true)
            .input("at", at)
            .input("items", vec![1, 2, 3])
            .input("none", Value::None)
            .input("json", json!({"a": [1]}))
            .output_type("n", simple(SimpleType::Integer))
            .output_type("s", simple(SimpleType::String))
            .output_type("x", simple(SimpleType::Float))
            .output_type("b", simple(SimpleType::Boolean))
            .output_type("at", simple(SimpleType::Datetime))
            .output_type("items", simple(SimpleType::Integer))
            .output_type("none", simple(SimpleType::None))
            .output_type("json", simple(SimpleType::String)),
    )
    .await;
    assert_eq!(result.output::<i64>("n"), 42);
    assert_eq!(result.output::<String>("s"), "it's; drop table x --");
    assert_eq!(result.output::<f64>("x"), 2.5);
    assert!(result.output::<bool>("b"));
    assert_eq!(result.output::<DateTime<Utc>>("at"), at);
    assert_eq!(result.output::<i64>("items"), 3);
    assert_eq!(result.output::<String>("json"), r#"{"a":[1]}"#);
}

#[tokio::test]
async fn a_result_becomes_a_dataset_that_can_be_read_again() {
    let folder = tempdir().unwrap();
    let client = reading(folder.path()).await;
    let prefix = format!("file://{}/out", real(folder.path()));
    let query = task("select carrier, count(*) as n from flights group by carrier")
        .input("flights", dataset(data("flights.parquet")))
        .output_type("results", a_dataset())
        .output_prefix(&prefix);
    let result = succeed(&client, query).await;
    let table: StructuredDataset = result.output("results");
    assert_eq!((table.uri.as_str(), table.format.as_str()), (format!("{prefix}/results/00000").as_str(), "parquet"));
    let columns: Vec<_> = table.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(columns, ["carrier", "n"]);
    assert!(result.info()["bytes_written"].as_u64().unwrap() > 100);
    let again = task("select count(*) as n from t").input("t", table).output_type("n", simple(SimpleType::Integer));
    assert_eq!(succeed(&client, again).await.output::<i64>("n"), result.info()["rows"].as_i64().unwrap());

    let nothing =
        task("select 1 as n where false").output_type("results", a_dataset()).output_prefix(&format!("{prefix}2"));
    let empty: StructuredDataset = succeed(&client, nothing).await.output("results");
    let again = task("select count(n) as n from t").input("t", empty).output_type("n", simple(SimpleType::Integer));
    assert_eq!(succeed(&client, again).await.output::<i64>("n"), 0);
}

#[tokio::test]
async fn a_result_becomes_a_file() {
    let folder = tempdir().unwrap();
    let client = reading(folder.path()).await;
    let rows = "select * from (values (1, 'a'), (2, 'b')) as t(n, s) order by n";
    for (format, content) in [("csv", "n,s\n1,a\n2,b\n"), ("json", "{\"n\":1,\"s\":\"a\"}\n{\"n\":2,\"s\":\"b\"}\n")] {
        let to = format!("{}/{format}/result.{format}", real(folder.path()));
        let file: File =
            succeed(&client, task(rows).custom(json!({"destination": to})).output_type("f", a_file(format)))
                .await
                .output("f");
        assert_eq!((file.uri.as_str(), file.format.as_str()), (to.as_str(), format));
        assert_eq!(std::fs::read_to_string(&to).unwrap(), content);
    }
    let refused = task(rows).custom(json!({"destination": "/tmp/elsewhere.csv"})).output_type("f", a_file("csv"));
    assert!(fail(&client, refused).await.contains("/tmp/elsewhere.csv is not within what destinations"), "refused");
    assert!(!std::path::Path::new("/tmp/elsewhere.csv").exists());
}

#[tokio::test]
async fn folders_lists_and_formats_are_read() {
    let folder = tempdir().unwrap();
    let root = real(folder.path());
    let write = |name: &str, content: &str| {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    };
    write("by/day=2024-05-01/a.csv", "n\n1\n");
    write("by/day=2024-05-02/b.csv", "n\n2\n");
    write("by/_SUCCESS", "x");
    write("by/.hidden.csv", "n\n1000\n");
    write("a.ndjson", "{\"n\": 1, \"d\": {\"x\": 2}}\n{\"n\": 2, \"d\": {\"x\": 3}}\n");
    write("a.json", " [{\"n\": 1}, {\"n\": 5}]");
    write("a.tsv", "n\ts\n4\ta b\n");
    write("odd", "# made by hand\n1;NA\n2;x\n");
    write("one.csv", "n\n1\n");
    write("two words.csv", "n\n2\n");
    let client = reading(folder.path()).await;
    let answer = async |sql: &str, sources: Json| -> i64 {
        let query = task(sql).custom(json!({"sources": sources})).output_type("n", simple(SimpleType::Integer));
        succeed(&client, query).await.output("n")
    };
    let at = |name: &str| format!("{root}/{name}");
    assert_eq!(
        answer("select sum(n) as n from t where day = '2024-05-02'", json!({"t": {"uri": at("by/"), "format": "csv"}}))
            .await,
        2
    );
    assert_eq!(answer("select sum(n) as n from t", json!({"t": {"uri": at("by")}})).await, 3);
    assert_eq!(answer("select sum(d['x']) as n from t", json!({"t": {"uri": at("a.ndjson")}})).await, 5);
    assert_eq!(answer("select sum(n) as n from t", json!({"t": {"uri": at("a.json")}})).await, 6);
    assert_eq!(answer("select n from t where s = 'a b'", json!({"t": {"uri": at("a.tsv")}})).await, 4);
    let options = json!({"delimiter": ";", "header": false, "comment": "#"});
    assert_eq!(
        answer(
            "select column_1 as n from t where nullif(column_2, 'NA') is null",
            json!({"t": {"uri": at("odd"), "format": "csv", "options": options}})
        )
        .await,
        1
    );
    assert_eq!(
        answer("select sum(n) as n from t", json!({"t": {"uri": [at("one.csv"), at("two words.csv")]}})).await,
        3
    );

    let uri = task("select sum(n) as n from t").input("t", at("one.csv")).output_type("n", simple(SimpleType::Integer));
    assert_eq!(succeed(&client, uri).await.output::<i64>("n"), 1);
    let list = task("select sum(n) as n from t")
        .input("t", vec![file(at("one.csv")), file(at("two words.csv"))])
        .output_type("n", simple(SimpleType::Integer));
    assert_eq!(succeed(&client, list).await.output::<i64>("n"), 3);
    let unused = task("select 1 as n").input("t", file("/no/such/file")).output_type("n", simple(SimpleType::Integer));
    assert_eq!(succeed(&client, unused).await.output::<i64>("n"), 1);
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let folder = tempdir().unwrap();
    let client = reading(folder.path()).await;
    let int = || simple(SimpleType::Integer);
    let missing = format!("{}/gone.parquet", real(folder.path()));
    std::fs::write(folder.path().join("a.csv.gz"), "x").unwrap();
    std::fs::write(folder.path().join("broken.parquet"), "this is no parquet").unwrap();
    let broken = format!("{}/broken.parquet", real(folder.path()));
    for (query, said) in [
        (task("selec 1"), "BadSQL: "),
        (
            task("select nope from flights").input("flights", dataset(data("flights.parquet"))),
            "BadSQL: Schema error: No field named nope",
        ),
        (task("select no_such_function(1)"), "BadSQL: "),
        (
            task("select 1 as n from nowhere").input("t", 1),
            "BadSQL: the query reads nowhere, which is neither an input nor one of custom.sources: there are t",
        ),
        (task("select $gone as n").input("t", 1), "BadSQL: the query uses $gone, which is no input: there are t"),
        (task("select 1 from t").input("t", 1), "BadInput: the query reads t, and the input of this name is an int"),
        (task("select 1 from t").input("t", dataset(&missing)), &format!("NotFound: {missing} is not there")),
        (task("select 1 from t").input("t", dataset(&broken)), "QueryFailed: table t from "),
        (task("select 1 from t").input("t", file(format!("{}/a.csv.gz", real(folder.path())))), "BadInput: "),
        (task("select 1 from t").input("t", "ftp://example.org/a"), "BadInput: table t: "),
        (task(""), "BadSQL: the task has no query"),
        (
            task("values (1), (2)").output_type("n", int()),
            "OutputMismatch: output \"n\", column \"column1\" (Int64), takes one value, and the result has 2 rows",
        ),
        (
            task("select 1 as a, 2 as b").output_type("n", int()),
            "OutputMismatch: there is no column for output \"n\": the result has a, b",
        ),
        (
            task("select 'x' as n").output_type("n", int()),
            "OutputMismatch: output \"n\", column \"n\" (Utf8), is a str",
        ),
        (
            task("select null as n").output_type("n", int()),
            "OutputMismatch: output \"n\", column \"n\" (Null), is NULL, but its type is not optional",
        ),
        (task("select 1 as n").output_type("n", a_dataset()), "BadInput: there is no place for output \"n\""),
        (
            task("select 1").custom(json!({"sources": {"t": {"uri": "s3://b/k", "endpoint": "http://evil"}}})),
            "BadInput: the task's custom part is wrong",
        ),
        (task("select 1/0 as n").output_type("n", int()), "QueryFailed: "),
    ] {
        let message = fail(&client, query).await;
        assert!(message.starts_with(said), "{message}\nis not\n{said}");
    }
}
