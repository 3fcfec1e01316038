// Writes the sample through the Node package pgvector, reads it back, and searches it: client.mjs JSON.
// JSON: host, port, user, database, sample (rows, query, bits, bit_query), operators of the columns, statements (DDL).
// Prints what sample.check_report reads. Any failure ends the process with a status that is not 0.
import pg from 'pg';
import { SparseVector, toSql } from 'pgvector';
import { registerTypes } from 'pgvector/pg';

const input = JSON.parse(process.argv[2]);
const { rows, query, bits, bit_query: bitQuery } = input.sample;
const client = new pg.Client({ host: input.host, port: input.port, user: input.user, database: input.database });

// What each column's parameter is made of, and how a value that was read is compared.
const columns = {
  v: { send: toSql, read: (value) => value },
  h: { send: toSql, read: (value) => value },
  s: { send: (row) => toSql(new SparseVector(row)), read: (value) => value.toArray() },
};

async function nearest(column, operator, parameter) {
  const statement = `SELECT id, ${column} ${operator} $1 AS distance FROM items ORDER BY ${column} ${operator} $1 LIMIT 4`;
  const found = await client.query(statement, [parameter]);
  return found.rows.map((row) => [row.id, row.distance]);
}

async function report() {
  const result = { rows: { v: {}, h: {}, s: {}, b: {} }, nearest: { v: {}, h: {}, s: {}, b: {} }, indexed: {} };
  for (const [id, row] of Object.entries(rows)) {
    const parameters = [id, columns.v.send(row), columns.h.send(row), columns.s.send(row), bits[id]];
    await client.query('INSERT INTO items VALUES ($1, $2, $3, $4, $5)', parameters);
  }
  for (const row of (await client.query('SELECT * FROM items')).rows) {
    for (const [column, { read }] of Object.entries(columns)) {
      result.rows[column][row.id] = read(row[column]);
    }
    result.rows.b[row.id] = row.b;
  }
  for (const [column, { send }] of Object.entries(columns)) {
    for (const operator of input.operators) {
      result.nearest[column][operator] = await nearest(column, operator, send(query));
    }
  }
  for (const operator of input.bit_operators) {
    result.nearest.b[operator] = await nearest('b', operator, bitQuery);
  }
  for (const statement of input.statements) {
    await client.query(statement);
  }
  await client.query('SET enable_seqscan = off');
  for (const operator of input.indexed_operators) {
    const found = await nearest('v', operator, toSql(query));
    const index = (await client.query('SELECT index::text FROM vectorgpu.last_scan()')).rows[0]?.index;
    result.indexed[operator] = { rows: found, index };
  }
  return result;
}

await client.connect();
await registerTypes(client);
await client.query(input.table);
console.log(JSON.stringify(await report()));
await client.end();
