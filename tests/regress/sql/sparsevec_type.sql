-- The type sparsevec: text in and out, type modifiers, the catalog's view of it.
-- What a statement answers: its only value, or the SQLSTATE, message, detail and hint of its error.
CREATE FUNCTION pg_temp.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE statement INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN array_to_string(array_remove(ARRAY[SQLSTATE, message, detail, hint], ''), ' | ');
END
$$;

-- Well-formed text.
SELECT input, pg_temp.outcome(format('SELECT %L::sparsevec', input)) FROM unnest(ARRAY[
    E'{1:1.5,3:3.5}/5',
    E'{3:3.5,1:1.5}/5',
    E'{1:-2,3:-4}/5',
    E'{}/5',
    E' { } / 5 ',
    E'\t{ 1 : 1.5 ,\n3\x0b:\f2 \r} / 5 ',
    E'{1:0,2:1,3:-0}/3',
    E'{1:0,1:1}/1',
    E'{5:0}/2',
    E'{+1:+1e2}/+7',
    E'{0001:0x10}/0010',
    E'{1:1,1000000000:2}/1000000000',
    E'{1:1e-45,2:3.4028235e38}/2',
    E'{1:0e-500,2:0x0p-999}/2',
    E'{1:16777217}/1'
]) input;

-- Malformed text.
SELECT input, pg_temp.outcome(format('SELECT %L::sparsevec', input)) FROM unnest(ARRAY[
    E'',
    E'[1,2]',
    E'{',
    E'{1',
    E'{1:',
    E'{1:1',
    E'{1:1,',
    E'{1:1,}/2',
    E'{,}/2',
    E'{:1}/2',
    E'{a:1}/2',
    E'{1:a}/2',
    E'{1 1}/2',
    E'{1:1 2:1}/2',
    E'{1.5:1}/2',
    E'{1:1}',
    E'{}',
    E'{}/',
    E'{1:1}x/2',
    E'{1:1}/a',
    E'{1:1}/-',
    E'{1:1}/2x',
    E'{1:1}/2.5',
    E'{{1:1}}/2',
    E'{1:1}/2}',
    E'{é:1}/2'
]) input;

-- What no sparsevec holds.
SELECT input, pg_temp.outcome(format('SELECT %L::sparsevec', input)) FROM unnest(ARRAY[
    E'{0:1}/5',
    E'{-1:1}/5',
    E'{6:1}/5',
    E'{1:1,1:2}/5',
    E'{3:1,1:2,3:4}/5',
    E'{-2147483648:1}/5',
    E'{9223372036854775808:1}/5',
    E'{-9999999999999999999:1}/5',
    E'{}/0',
    E'{}/-1',
    E'{}/1000000001',
    E'{}/2147483648',
    E'{}/9223372036854775808',
    E'{}/-9223372036854775809',
    E'{1:NaN}/5',
    E'{1:inf}/5',
    E'{1:-Infinity}/5',
    E'{1:4e38}/5',
    E'{1:-1e400}/5',
    E'{1:1e-46}/5',
    E'{1:-1e-400}/5',
    E'{1:0x1p-200}/5',
    E'{2:1,1:nan}/0'
]) input;

-- Dimensions and elements.
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT length(format('{%s}/16000', (SELECT string_agg(i || ':1', ',') FROM generate_series(1, 16000) i))::sparsevec::text)$$,
    $$SELECT format('{%s}/16001', (SELECT string_agg(i || ':1', ',') FROM generate_series(1, 16001) i))::sparsevec$$,
    $$SELECT format('{%s}/1', (SELECT string_agg('1:0', ',') FROM generate_series(1, 16001) i))::sparsevec$$,
    $$SELECT left(pg_temp.outcome($q$SELECT repeat(',', 16000)::sparsevec$q$), 80)$$,
    $$SELECT '{1:1}/3'::sparsevec(3)$$,
    $$SELECT '{1:1}/3'::sparsevec(2)$$,
    $$SELECT '{9:1}/3'::sparsevec(2)$$,
    $$SELECT '{1:1}/3'::sparsevec(0)$$,
    $$SELECT '{1:1}/3'::sparsevec(-1)$$,
    $$SELECT '{1:1}/3'::sparsevec(1000000000)$$,
    $$SELECT '{1:1}/3'::sparsevec(1000000001)$$,
    $$SELECT '{1:1}/3'::sparsevec(3, 4)$$,
    $$SELECT '{1:1}/3'::sparsevec('a')$$,
    $$SELECT sparsevec_in('{1:1}/3', 0, 2)$$,
    $$SELECT sparsevec_in('{1:1}/3', 0, -1)$$
]) statement;

-- Columns, values stored out of line, and the catalog.
CREATE TABLE typed (id integer, v sparsevec(3), w sparsevec);
INSERT INTO typed VALUES (1, '{1:1}/3', '{}/2'), (2, NULL, '{1:1,2:2}/4');
SELECT pg_temp.outcome($$INSERT INTO typed VALUES (3, '{1:1}/2', NULL)$$);
SELECT pg_temp.outcome($$INSERT INTO typed SELECT 3, w FROM typed$$);
SELECT attname, format_type(atttypid, atttypmod), attstorage FROM pg_attribute
WHERE attrelid = 'typed'::regclass AND attnum > 1 ORDER BY attnum;
SELECT id, pg_column_size(w) FROM typed ORDER BY id;
DROP TABLE typed;
CREATE TABLE stored (n integer, v sparsevec);
INSERT INTO stored SELECT n, (SELECT array_agg(1 + i % 10) FROM generate_series(1, n) i)::sparsevec
FROM unnest(ARRAY[1, 13, 14, 15, 250, 1000, 16000]) n;
ALTER TABLE stored ALTER v SET STORAGE main;
INSERT INTO stored SELECT n, v::vector::sparsevec FROM stored;
SELECT n, count(*), count(DISTINCT v), max(l1_distance(v, v)) AS self, bool_and(v::text::sparsevec = v) AS same FROM stored GROUP BY n ORDER BY n;
DROP TABLE stored;
SELECT typlen, typbyval, typcategory, typalign, typstorage, typmodout::oid FROM pg_type WHERE typname = 'sparsevec';
SELECT count(*) FILTER (WHERE provolatile <> 'i' OR NOT proisstrict OR proparallel <> 's') AS differing
FROM pg_proc WHERE 'sparsevec'::regtype = ANY (proargtypes) AND prokind = 'f';
