-- The type: text in and out, type modifiers, the catalog's view of it.
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
SELECT input, pg_temp.outcome(format('SELECT %L::vector', input)) FROM unnest(ARRAY[
    E'[1,2,3]',
    E'[-1,-2,-3]',
    E'[1.,2.,3.]',
    E' [ 1,  2 ,    3  ] ',
    E'\t[\n1\r,\x0b2\f]\n',
    E'[+1,+.5,-.5]',
    E'[1e3,1E-3,1e+3]',
    E'[0,-0,0.0,-0e5]',
    E'[00001,1.5000]',
    E'[0x10,0X1p4,-0x.8,0x1.8p-1]',
    E'[16777217,16777219,33554433]',
    E'[3.4028235e38,-3.4028235e38]',
    E'[1.1754944e-38,1e-45,1e-46]',
    E'[4e-46,-1e-400]',
    E'[1.00000017881393432617187499,1.00000017881393432617187500,1.00000017881393432617187501]',
    E'[0.000000000000000000000000000000000000000000000000000000000000000000001e69]',
    E'[123456789012345678901234567890]'
]) input;

-- Malformed text.
SELECT input, pg_temp.outcome(format('SELECT %L::vector', input)) FROM unnest(ARRAY[
    E'',
    E'  ',
    E'1,2,3',
    E'{1,2,3}',
    E'(1,2)',
    E'[',
    E'[1',
    E'[1,',
    E'[1,2',
    E'[1,]',
    E'[,1]',
    E'[1,,3]',
    E'[1 2]',
    E'[1;2]',
    E'[1,2]]',
    E'[[1,2]',
    E'[1,2],',
    E'[1,2]a',
    E'[1,2] [3]',
    E'[a]',
    E'[1,a]',
    E'[1e]',
    E'[1e+]',
    E'[e5]',
    E'[.]',
    E'[-]',
    E'[--1]',
    E'[+-1]',
    E'[0x]',
    E'[0xg]',
    E'[1_000]',
    E'[1.2.3]',
    E'[''1'']',
    E'[1,2',
    E'[é]',
    E'null',
    E'[1,2,3)'
]) input;

-- What no vector holds.
SELECT input, pg_temp.outcome(format('SELECT %L::vector', input)) FROM unnest(ARRAY[
    E'[]',
    E'[ ]',
    E'[NaN,1]',
    E'[nan]',
    E'[-nan]',
    E'[1,NAN(1)]',
    E'[Infinity,1]',
    E'[inf]',
    E'[-Infinity]',
    E'[1,-inf]',
    E'[4e38,1]',
    E'[-4e38,1]',
    E'[1e400]',
    E'[3.4028236e38]',
    E'[0x1p128]',
    E'[1,1e39]'
]) input;

-- The text of a number is that of the type real.
SELECT v, (v::real[])[1] = e AS same_value, '[' || e::text || ']' = v::text AS same_text
FROM (SELECT e, format('[%s]', e)::vector AS v FROM unnest(ARRAY[
    0, '-0', 1, -1, 0.1, 0.5, 100, 99999, 100000, 999999, 1e6, 1234567, 9999999, 12345678, 16777216, 16777217, 3e7, 3e10,
    9e9, 1e15, 1e20, 0.0001, 0.00012345, 0.00001, 0.000012345, 1e-10, 1.1754944e-38, 1e-45, 3.4028235e38, 3.1415927,
    2.7182817, 0.33333334, 123456.7, 123456.79, 1234567.9, 8388608.5, 0.30000001
]::real[]) e) numbers;

SELECT count(*) FILTER (WHERE format('[%s]', e)::vector::text IS DISTINCT FROM '[' || e::text || ']') AS different, count(*)
FROM (
    SELECT (m * 10.0 ^ x)::real AS e FROM generate_series(1, 9999, 7) m, generate_series(-44, 34) x
    UNION ALL SELECT (m::float8 * 2.0 ^ x)::real FROM unnest(ARRAY[8388608, 8388609, 12345678, 16777215]) m, generate_series(-149, 104) x
) numbers;

-- Rounding is not done twice, and settings for the type real make no difference.
SET extra_float_digits = 0;
SELECT '[0.1,3.1415927,1e20]'::vector;
RESET extra_float_digits;

-- Dimensions.
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT vector_dims(format('[%s]', repeat('1,', 15999) || '1')::vector)$$,
    $$SELECT vector_dims(format('[%s]', repeat('1,', 16000) || '1')::vector)$$,
    $$SELECT format('[%s]', repeat('1,', 16000) || 'x')::vector$$,
    $$SELECT format('[%s]', repeat('1,', 16000))::vector$$,
    $$SELECT left(pg_temp.outcome($q$SELECT repeat('[', 17000)::vector$q$), 60)$$,
    $$SELECT '[1,2,3]'::vector(3)$$,
    $$SELECT '[1,2,3]'::vector(2)$$,
    $$SELECT '[1,2,3]'::vector(4)$$,
    $$SELECT '[1,2,3]'::vector(3, 2)$$,
    $$SELECT '[1,2,3]'::vector('a')$$,
    $$SELECT '[1,2,3]'::vector(0)$$,
    $$SELECT '[1,2,3]'::vector(-1)$$,
    $$SELECT '[1,2,3]'::vector(16000)$$,
    $$SELECT '[1,2,3]'::vector(16001)$$,
    $$SELECT '[1,2,3]'::vector('3')$$,
    $$SELECT '[1,2,3]'::vector(3.5)$$,
    $$SELECT '[1,2,3]'::vector(2147483648)$$,
    $$SELECT NULL::vector(3) IS NULL$$,
    $$SELECT vector_in('[1,2]', 0, 2)$$,
    $$SELECT vector_in('[1,2]', 0, 3)$$,
    $$SELECT vector_in('[1,2]', 0, -1)$$
]) statement;

-- Columns.
CREATE TABLE typed (id integer, v vector(3), w vector);
INSERT INTO typed VALUES (1, '[1,2,3]', '[1,2]'), (2, NULL, '[1,2,3,4]');
SELECT pg_temp.outcome($$INSERT INTO typed VALUES (3, '[1,2]', NULL)$$);
SELECT pg_temp.outcome($$INSERT INTO typed SELECT 3, w FROM typed$$);
SELECT pg_temp.outcome($$UPDATE typed SET v = w$$);
SELECT * FROM typed ORDER BY id;
SELECT attname, format_type(atttypid, atttypmod), attstorage FROM pg_attribute
WHERE attrelid = 'typed'::regclass AND attnum > 1 ORDER BY attnum;
SELECT id, pg_column_size(w) FROM typed ORDER BY id;
ALTER TABLE typed ALTER w TYPE vector(2) USING CASE WHEN id = 1 THEN w END;
SELECT pg_temp.outcome($$ALTER TABLE typed ALTER v TYPE vector(4)$$);
ALTER TABLE typed ALTER v TYPE vector;
SELECT * FROM typed ORDER BY id;
DROP TABLE typed;

-- Values stored out of line, compressed on request, and with a short header read back the same.
CREATE TABLE stored (n integer, v vector);
INSERT INTO stored SELECT n, (SELECT array_agg(i % 10) FROM generate_series(1, n) i)::vector
FROM unnest(ARRAY[1, 29, 30, 31, 505, 2000, 16000]) n;
ALTER TABLE stored ALTER v SET STORAGE main;
INSERT INTO stored SELECT n, v + v - v FROM stored;
ALTER TABLE stored ALTER v SET STORAGE plain;
INSERT INTO stored SELECT DISTINCT n, v + v - v FROM stored WHERE n < 2000;
SELECT n, count(*), count(DISTINCT v), bool_and(vector_dims(v) = n) AS dims, max(l1_distance(v, v)) AS self,
    bool_and(v::real[]::float8[] = (SELECT array_agg(i % 10) FROM generate_series(1, n) i)::float8[]) AS same
FROM stored GROUP BY n ORDER BY n;
DROP TABLE stored;

-- The catalog.
SELECT typlen, typbyval, typcategory, typalign, typstorage, typmodout::oid FROM pg_type WHERE typname = 'vector';
SELECT count(*) FILTER (WHERE provolatile <> 'i' OR NOT proisstrict OR proparallel <> 's') AS differing
FROM pg_proc WHERE 'vector'::regtype = ANY (proargtypes) AND prokind = 'f' AND prorettype <> 'internal'::regtype
    AND probin LIKE '%vector%' AND proname !~ 'halfvec|sparsevec';
