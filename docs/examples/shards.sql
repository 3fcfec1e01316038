-- A table whose rows lie on several servers, and a search of all of them at the same time. Here the servers are this one,
-- where two tables of the schema example_far stand for theirs. Run it as a superuser: psql -d a_database -f shards.sql

CREATE EXTENSION IF NOT EXISTS vectorgpu;
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
CREATE EXTENSION IF NOT EXISTS dblink;

-- On each server of a shard: the table with its rows, and an index.
DROP SCHEMA IF EXISTS example_far CASCADE;
CREATE SCHEMA example_far;
SELECT setseed(0.5);
CREATE TABLE example_far.items_0 AS
SELECT i AS id, 'item ' || i AS title, (SELECT array_agg(random()) FROM generate_series(1, 8) d WHERE i > 0)::vector(8) AS embedding
FROM generate_series(0, 2999) i;
CREATE TABLE example_far.items_1 AS
SELECT i AS id, 'item ' || i AS title, (SELECT array_agg(random()) FROM generate_series(1, 8) d WHERE i > 0)::vector(8) AS embedding
FROM generate_series(3000, 5999) i;
CREATE INDEX ON example_far.items_0 USING ivf (embedding vector_l2_ops) WITH (lists = 50, probes = 10);
CREATE INDEX ON example_far.items_1 USING ivf (embedding vector_l2_ops) WITH (lists = 50, probes = 10);

-- On the server that is asked: a partitioned table of them.
DROP SERVER IF EXISTS example_server_0 CASCADE;
DROP SERVER IF EXISTS example_server_1 CASCADE;
CREATE SERVER example_server_0 FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host :'HOST', port :'PORT', dbname :'DBNAME');
CREATE SERVER example_server_1 FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host :'HOST', port :'PORT', dbname :'DBNAME');
CREATE USER MAPPING FOR CURRENT_USER SERVER example_server_0 OPTIONS (user :'USER');
CREATE USER MAPPING FOR CURRENT_USER SERVER example_server_1 OPTIONS (user :'USER');
DROP TABLE IF EXISTS example_everything;
CREATE TABLE example_everything (id int, title text, embedding vector(8)) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE example_part_0 PARTITION OF example_everything FOR VALUES FROM (0) TO (3000)
    SERVER example_server_0 OPTIONS (schema_name 'example_far', table_name 'items_0');
CREATE FOREIGN TABLE example_part_1 PARTITION OF example_everything FOR VALUES FROM (3000) TO (6000)
    SERVER example_server_1 OPTIONS (schema_name 'example_far', table_name 'items_1');

\echo 'where the rows lie'
SELECT * FROM vectorgpu.shards('example_everything');

\echo 'nearest to two vectors, from all shards'
SELECT s.query, s.rank, s.shard, s.data ->> 'title' AS title, round(s.distance::numeric, 3) AS distance
FROM vectorgpu.search_shards('example_everything', 'embedding',
    ARRAY['[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]', '[0.9,0.8,0.7,0.6,0.5,0.4,0.3,0.2]']::vector[], 3) s;

\echo 'the same as rows of the table'
SELECT s.rank, r.id, r.title
FROM vectorgpu.search_shards('example_everything', 'embedding', ARRAY['[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]'::vector], 3,
    columns => '{id,title}') s, jsonb_populate_record(NULL::example_everything, s.data) r;

DROP SERVER example_server_0, example_server_1 CASCADE;
DROP TABLE example_everything;
DROP SCHEMA example_far CASCADE;
