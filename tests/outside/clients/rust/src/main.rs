//! Writes the sample through the crate pgvector, reads it back, and searches it: `vectorgpu-client-test JSON`.
//!
//! JSON: dsn, how (`insert` or `copy`), sample (rows, query, bits, bit_query), operators of the columns, statements (DDL).
//! Prints what `sample.check_report` reads. All parameters and results of this driver are binary.

use std::collections::BTreeMap;
use std::error::Error;

use pgvector::{Bit, HalfVector, SparseVector, Vector};
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::{ToSql, Type};
use postgres::{Client, NoTls};
use serde::Deserialize;
use serde_json::{Value, json};

type Failure = Box<dyn Error>;

#[derive(Deserialize)]
struct Sample {
    rows: BTreeMap<i32, Vec<f32>>,
    query: Vec<f32>,
    bits: BTreeMap<i32, String>,
    bit_query: String,
}

#[derive(Deserialize)]
struct Input {
    dsn: String,
    how: String,
    sample: Sample,
    table: String,
    operators: Vec<String>,
    bit_operators: Vec<String>,
    statements: Vec<String>,
    indexed_operators: Vec<String>,
}

/// A row of the table, as the driver takes it.
type Record = (i32, Vector, HalfVector, SparseVector, Bit);

fn bit(text: &str) -> Bit {
    Bit::new(&text.chars().map(|digit| digit == '1').collect::<Vec<_>>())
}

fn bit_text(bit: &Bit) -> String {
    let digit = |at: usize| bit.as_bytes()[at / 8] >> (7 - at % 8) & 1;
    (0..bit.len()).map(|at| digit(at).to_string()).collect()
}

fn records(sample: &Sample) -> Vec<Record> {
    let record = |(&id, row): (&i32, &Vec<f32>)| {
        (
            id,
            Vector::from(row.clone()),
            HalfVector::from_f32_slice(row),
            SparseVector::from_dense(row),
            bit(&sample.bits[&id]),
        )
    };
    sample.rows.iter().map(record).collect()
}

fn insert(client: &mut Client, records: &[Record]) -> Result<(), Failure> {
    let statement = client.prepare("INSERT INTO items VALUES ($1, $2, $3, $4, $5)")?;
    for (id, v, h, s, b) in records {
        client.execute(&statement, &[id, v, h, s, b])?;
    }
    Ok(())
}

fn copy(client: &mut Client, records: &[Record]) -> Result<(), Failure> {
    let columns = client.prepare("SELECT * FROM items")?;
    let types: Vec<Type> = columns
        .columns()
        .iter()
        .map(|column| column.type_().clone())
        .collect();
    let sink = client.copy_in("COPY items FROM STDIN WITH (FORMAT binary)")?;
    let mut writer = BinaryCopyInWriter::new(sink, &types);
    for (id, v, h, s, b) in records {
        writer.write(&[id, v, h, s, b])?;
    }
    writer.finish()?;
    Ok(())
}

fn read_back(client: &mut Client) -> Result<Value, Failure> {
    let [mut v, mut h, mut s, mut b] = [const { BTreeMap::<i32, Value>::new() }; 4];
    for row in client.query("SELECT * FROM items", &[])? {
        let id = row.try_get(0)?;
        let halves = row.try_get::<_, HalfVector>(2)?;
        let halves: Vec<f32> = halves.as_slice().iter().map(|half| half.to_f32()).collect();
        v.insert(id, json!(row.try_get::<_, Vector>(1)?.to_vec()));
        h.insert(id, json!(halves));
        s.insert(id, json!(row.try_get::<_, SparseVector>(3)?.to_vec()));
        b.insert(id, json!(bit_text(&row.try_get::<_, Bit>(4)?)));
    }
    Ok(json!({ "v": v, "h": h, "s": s, "b": b }))
}

fn nearest(
    client: &mut Client,
    column: &str,
    operator: &str,
    query: &(dyn ToSql + Sync),
) -> Result<Value, Failure> {
    let statement =
        format!("SELECT id, {column} {operator} $1 FROM items ORDER BY {column} {operator} $1 LIMIT 4");
    let mut found = Vec::new();
    for row in client.query(&statement, &[query])? {
        found.push((row.try_get::<_, i32>(0)?, row.try_get::<_, f64>(1)?));
    }
    Ok(json!(found))
}

fn by_each_operator(client: &mut Client, input: &Input) -> Result<Value, Failure> {
    let query = &input.sample.query;
    let [vector, half, sparse] = [
        &Vector::from(query.clone()) as &(dyn ToSql + Sync),
        &HalfVector::from_f32_slice(query),
        &SparseVector::from_dense(query),
    ];
    let bits = bit(&input.sample.bit_query);
    let columns = [
        ("v", vector, &input.operators),
        ("h", half, &input.operators),
        ("s", sparse, &input.operators),
        ("b", &bits, &input.bit_operators),
    ];
    let mut found = BTreeMap::<_, BTreeMap<_, _>>::new();
    for (column, parameter, operators) in columns {
        for operator in operators {
            let rows = nearest(client, column, operator, parameter)?;
            found.entry(column).or_default().insert(operator, rows);
        }
    }
    Ok(json!(found))
}

fn through_indexes(client: &mut Client, input: &Input) -> Result<Value, Failure> {
    for statement in &input.statements {
        client.batch_execute(statement)?;
    }
    client.batch_execute("SET enable_seqscan = off")?;
    let query = Vector::from(input.sample.query.clone());
    let mut found = BTreeMap::new();
    for operator in &input.indexed_operators {
        let rows = nearest(client, "v", operator, &query)?;
        let used = client.query_opt("SELECT index::text FROM vectorgpu.last_scan()", &[])?;
        let index: Option<String> = used.map(|row| row.try_get(0)).transpose()?;
        found.insert(operator, json!({ "rows": rows, "index": index }));
    }
    Ok(json!(found))
}

fn main() -> Result<(), Failure> {
    let argument = std::env::args().nth(1).ok_or("one argument: JSON")?;
    let input: Input = serde_json::from_str(&argument)?;
    let mut client = Client::connect(&input.dsn, NoTls)?;
    client.batch_execute(&input.table)?;
    let records = records(&input.sample);
    match input.how.as_str() {
        "insert" => insert(&mut client, &records)?,
        "copy" => copy(&mut client, &records)?,
        other => return Err(format!("no way to send rows: {other}").into()),
    }
    let report = json!({
        "rows": read_back(&mut client)?,
        "nearest": by_each_operator(&mut client, &input)?,
        "indexed": through_indexes(&mut client, &input)?,
    });
    println!("{report}");
    Ok(())
}
