-- The access method ivf: options, operator classes, plans, order, unusual rows, errors.
SET enable_seqscan = off;
-- What a statement answers: the SQLSTATE, message, detail and hint of its error.
CREATE FUNCTION pg_temp.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN array_to_string(array_remove(ARRAY[SQLSTATE, message, detail, hint], ''), ' | ');
END
$$;
-- The lines of a plan, but those that only PostgreSQL 18 has.
CREATE FUNCTION pg_temp.plan(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS off) ' || statement LOOP
        IF line !~ '^ *Disabled: true$' THEN
            RETURN NEXT line;
        END IF;
    END LOOP;
END
$$;


CREATE TABLE items (id integer, v vector(3));
INSERT INTO items VALUES (1, '[0,0,0]'), (2, '[1,2,3]'), (3, '[1,1,1]'), (4, NULL), (5, '[1,2,4]'), (6, '[3,-1,2]');

-- Each operator class orders by its operator; NULL is not in the index.
CREATE INDEX items_l2 ON items USING ivf (v) WITH (lists = 1);
EXPLAIN (COSTS off) SELECT id FROM items ORDER BY v <-> '[3,3,3]' LIMIT 3;
SELECT id, v <-> '[3,3,3]' AS distance FROM items ORDER BY v <-> '[3,3,3]';
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> NULL) AS every_row;
SELECT vectorgpu.verify('items_l2');
DROP INDEX items_l2;

CREATE INDEX items_ip ON items USING ivf (v vector_ip_ops) WITH (lists = 1);
EXPLAIN (COSTS off) SELECT id FROM items ORDER BY v <#> '[3,3,3]' LIMIT 3;
SELECT id, v <#> '[3,3,3]' AS product FROM items ORDER BY v <#> '[3,3,3]';
DROP INDEX items_ip;

CREATE INDEX items_cosine ON items USING ivf (v vector_cosine_ops) WITH (lists = 1, storage = f16);
SELECT id, round((v <=> '[3,3,3]')::numeric, 6) AS distance FROM items WHERE id > 1 ORDER BY v <=> '[3,3,3]';
-- A zero vector has no direction; it comes last, as in a sort.
SELECT id, v <=> '[3,3,3]' AS distance FROM items WHERE id = 1 ORDER BY v <=> '[3,3,3]';
DROP INDEX items_cosine;

-- No index scan without an order, and none by another operator.
CREATE INDEX items_l2 ON items USING ivf (v) WITH (lists = 1);
SELECT pg_temp.plan($$SELECT id FROM items WHERE id = 3$$);
SELECT pg_temp.plan($$SELECT id FROM items ORDER BY v <#> '[3,3,3]' LIMIT 3$$);
SELECT pg_temp.plan($$SELECT id FROM items ORDER BY v <-> '[3,3,3]' DESC LIMIT 3$$);

-- What the index says of itself; its options.
SELECT metric, storage, dims, lists, probes, rows, built_rows FROM vectorgpu.index_info('items_l2');
ALTER INDEX items_l2 SET (probes = 1);
SELECT reloptions FROM pg_class WHERE relname = 'items_l2';
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$CREATE INDEX ON items USING ivf (v) WITH (lists = -1)$$,
    $$CREATE INDEX ON items USING ivf (v) WITH (lists = 32769)$$,
    $$CREATE INDEX ON items USING ivf (v) WITH (probes = 'many')$$,
    $$CREATE INDEX ON items USING ivf (v) WITH (storage = 'f64')$$,
    $$CREATE INDEX ON items USING ivf (v) WITH (m = 16)$$,
    $$CREATE INDEX ON items USING ivf (id)$$,
    $$CREATE INDEX ON items USING ivf (v, v)$$,
    $$CREATE UNIQUE INDEX ON items USING ivf (v)$$,
    $$SET vectorgpu.probes = -1$$,
    $$SET vectorgpu.iterative_scan = 'loose'$$,
    $$SET vectorgpu.nothing = 1$$
]) AS statement;

-- Dimensions: of the column, at insert, at query.
CREATE TABLE anyhow (id integer, v vector);
INSERT INTO anyhow VALUES (1, '[1,2,3]'), (2, '[1,2]');
SELECT pg_temp.outcome('CREATE INDEX ON anyhow USING ivf (v)');
SELECT pg_temp.outcome('CREATE INDEX ON anyhow USING ivf ((v::vector(3)))');
DELETE FROM anyhow WHERE id = 2;
CREATE INDEX anyhow_three ON anyhow USING ivf ((v::vector(3))) WITH (lists = 1);
SELECT pg_temp.outcome($$INSERT INTO anyhow VALUES (3, '[1,2,3,4]')$$);
SELECT id FROM anyhow ORDER BY v::vector(3) <-> '[1,2,3]';
SELECT pg_temp.outcome($$SELECT id FROM items ORDER BY v <-> '[1,2]'$$);
SELECT pg_temp.outcome($$SELECT id FROM items ORDER BY v <-> '[1,2]' LIMIT 1$$);

-- Functions on what is no ivf index.
SELECT pg_temp.outcome($$SELECT vectorgpu.verify('items')$$);
CREATE INDEX items_id ON items (id);
SELECT pg_temp.outcome($$SELECT vectorgpu.verify('items_id')$$);
SELECT pg_temp.outcome($$SELECT * FROM vectorgpu.index_info('items_id')$$);

-- Insert, update, delete, VACUUM.
INSERT INTO items SELECT i, ARRAY[i, i % 7, i % 3]::vector(3) FROM generate_series(100, 1099) AS i;
SELECT vectorgpu.verify('items_l2');
UPDATE items SET v = '[9,9,9]' WHERE id = 3;
DELETE FROM items WHERE id >= 600;
VACUUM items;
SELECT vectorgpu.verify('items_l2');
SELECT id FROM items ORDER BY v <-> '[9,9,9]' LIMIT 1;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> '[9,9,9]') AS every_row;
TRUNCATE items;
SELECT id FROM items ORDER BY v <-> '[9,9,9]' LIMIT 1;
INSERT INTO items VALUES (1, '[1,2,3]');
REINDEX INDEX items_l2;
SELECT id FROM items ORDER BY v <-> '[9,9,9]' LIMIT 1;

-- Fewer rows than lists, duplicates, one row, none; unlogged and temporary tables.
CREATE UNLOGGED TABLE few (v vector(2));
CREATE INDEX few_empty ON few USING ivf (v) WITH (lists = 10);
SELECT rows, empty_lists FROM vectorgpu.index_info('few_empty');
INSERT INTO few SELECT '[1,1]' FROM generate_series(1, 500);
CREATE INDEX few_same ON few USING ivf (v) WITH (lists = 10);
SELECT vectorgpu.verify('few_empty'), vectorgpu.verify('few_same');
SET vectorgpu.probes = 10;
SELECT count(*) FROM (SELECT v FROM few ORDER BY v <-> '[0,0]' LIMIT 1000) AS every_row;
CREATE TEMPORARY TABLE passing (v vector(2));
INSERT INTO passing VALUES ('[0,1]'), ('[1,0]'), ('[3,3]');
CREATE INDEX passing_v ON passing USING ivf (v) WITH (lists = 2);
SELECT v FROM passing ORDER BY v <-> '[3,2]';
RESET vectorgpu.probes;

-- Iterative scans.
CREATE TABLE many AS SELECT i AS id, ARRAY[sin(i), cos(i * 3), sin(i * 7)]::vector(3) AS v FROM generate_series(1, 2000) AS i;
CREATE INDEX many_v ON many USING ivf ((v::vector(3))) WITH (lists = 20);
SET vectorgpu.probes = 1;
SET vectorgpu.iterative_scan = off;
SELECT count(*) < 2000 AS stops FROM (SELECT id FROM many ORDER BY v::vector(3) <-> '[0,0,0]') AS found;
SET vectorgpu.iterative_scan = relaxed_order;
SELECT count(*) AS every_row FROM (SELECT id FROM many ORDER BY v::vector(3) <-> '[0,0,0]') AS found;
SELECT count(*) AS filtered FROM (SELECT id FROM many WHERE id % 400 = 0 ORDER BY v::vector(3) <-> '[1,0,0]' LIMIT 3) AS found;
SET vectorgpu.iterative_scan = strict_order;
SELECT bool_and(distance >= before) AS sorted, count(*) < 2000 AS leaves_out FROM (
    SELECT distance, lag(distance) OVER () AS before
    FROM (SELECT v::vector(3) <-> '[0,0,0]' AS distance FROM many ORDER BY v::vector(3) <-> '[0,0,0]') AS found) AS pairs;
SET vectorgpu.max_probes = 2;
SELECT count(*) < 2000 AS limited FROM (SELECT id FROM many ORDER BY v::vector(3) <-> '[0,0,0]') AS found;
RESET vectorgpu.max_probes;
RESET vectorgpu.probes;
SELECT lists_probed > 0, rows_scored > 0 FROM vectorgpu.last_scan();

-- The operator classes are well formed, and every object of the extension has a comment.
SELECT opcname, amvalidate(c.oid) FROM pg_opclass AS c JOIN pg_am AS a ON a.oid = c.opcmethod WHERE amname = 'ivf' ORDER BY 1;
SELECT pg_describe_object(classid, objid, 0) AS lacks_comment FROM pg_depend AS d
WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'vectorgpu')
    AND classid NOT IN ('pg_cast'::regclass, 'pg_opfamily'::regclass) AND obj_description(objid, classid::regclass::name) IS NULL
    AND NOT EXISTS (SELECT FROM pg_type AS t WHERE t.oid = objid AND (typcategory = 'A' OR typtype = 'c'))
ORDER BY 1;
DROP TABLE items, anyhow, few, passing, many;
