-- The btree operator class: sorting, uniqueness, grouping, index scans.
CREATE TABLE sorted (v vector);
INSERT INTO sorted VALUES ('[2]'), ('[1,2,3]'), ('[1,2]'), ('[1]'), ('[0,9,9]'), (NULL), ('[-1]'), ('[1,2]'), ('[1,1,9]');
SELECT v FROM sorted ORDER BY v;
SELECT v FROM sorted ORDER BY v DESC NULLS LAST;
SELECT DISTINCT v FROM sorted ORDER BY v;
SELECT v, count(*) FROM sorted GROUP BY v ORDER BY v;
SELECT a.v FROM sorted a JOIN sorted b USING (v) ORDER BY 1;
SELECT v FROM sorted UNION SELECT v FROM sorted ORDER BY v;
SELECT v FROM sorted WHERE v IN ('[1]', '[2]', '[3]') ORDER BY v;
SELECT rank() OVER (ORDER BY v), v FROM sorted ORDER BY 1, 2;

CREATE INDEX sorted_v ON sorted (v);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT v FROM sorted WHERE v = '[1,2]';
SELECT v FROM sorted WHERE v = '[1,2]';
SELECT v FROM sorted WHERE v < '[1,2]' ORDER BY v;
SELECT v FROM sorted WHERE v >= '[1,2]' ORDER BY v DESC;
SELECT v FROM sorted WHERE v > '[1]' AND v <= '[1,2,3]' ORDER BY v;
SELECT v FROM sorted WHERE v IS NULL;
RESET enable_seqscan;
RESET enable_bitmapscan;
RESET enable_sort;

CREATE TABLE uniq (v vector(2) PRIMARY KEY);
INSERT INTO uniq VALUES ('[1,2]'), ('[2,1]');
INSERT INTO uniq VALUES ('[1,2]');
INSERT INTO uniq VALUES ('[0,0]');
INSERT INTO uniq VALUES ('[-0,0]');
INSERT INTO uniq VALUES ('[1,2]') ON CONFLICT DO NOTHING;
SELECT * FROM uniq ORDER BY v;

-- Detoasted values: a sort of vectors that are stored out of line.
CREATE TABLE wide AS SELECT i, (array_fill(0, ARRAY[800]) || i % 97)::vector AS v FROM generate_series(1, 500) i;
SELECT count(*), count(DISTINCT v) FROM wide;
SELECT array_agg(i ORDER BY v, i) = array_agg(i ORDER BY i % 97, i) AS sorted FROM wide;

ANALYZE sorted;
SELECT opcname, opcdefault, opcintype::regtype FROM pg_opclass JOIN pg_am a ON a.oid = opcmethod
WHERE opcintype = 'vector'::regtype AND amname = 'btree';
SELECT amvalidate(o.oid) FROM pg_opclass o JOIN pg_am a ON a.oid = opcmethod
WHERE opcintype = 'vector'::regtype AND amname = 'btree';
DROP TABLE sorted, uniq, wide;
