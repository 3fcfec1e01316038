-- The type halfvec: text in and out, type modifiers, the catalog's view of it.
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
SELECT input, pg_temp.outcome(format('SELECT %L::halfvec', input)) FROM unnest(ARRAY[
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
    E'[2047,2048,2049,2050,2051,2052]',
    E'[65504,-65504,65519,65519.99,-65519.996]',
    E'[6.1035156e-05,5.9604645e-08,6e-08,5.9604645e-07]',
    E'[2.9802322e-08,2.9802326e-08,-1e-8,1e-45,1e-400]',
    E'[0.1,0.2,0.3,3.14159265,0.333333]',
    E'[1.00048828125,1.00048828124,1.00048828126,1.0014648438]',
    E'[100,1000,10000,60000]'
]) input;

-- Malformed text.
SELECT input, pg_temp.outcome(format('SELECT %L::halfvec', input)) FROM unnest(ARRAY[
    E'',
    E'1,2,3',
    E'{1,2,3}',
    E'[',
    E'[1',
    E'[1,',
    E'[1,]',
    E'[,1]',
    E'[1,,3]',
    E'[1 2]',
    E'[1,2]]',
    E'[[1,2]',
    E'[1,2],',
    E'[1,2]a',
    E'[a]',
    E'[1e]',
    E'[.]',
    E'[--1]',
    E'[0x]',
    E'[1.2.3]',
    E'[é]',
    E'[1,2,3)'
]) input;

-- What no halfvec holds.
SELECT input, pg_temp.outcome(format('SELECT %L::halfvec', input)) FROM unnest(ARRAY[
    E'[]',
    E'[ ]',
    E'[NaN,1]',
    E'[-nan]',
    E'[1,NAN(1)]',
    E'[Infinity,1]',
    E'[-inf]',
    E'[65520]',
    E'[-65520,1]',
    E'[1,2,3,4,5,6,99999,8,9]',
    E'[1e5]',
    E'[4e38]',
    E'[-1e400]',
    E'[0x1p16]'
]) input;

-- Every half prints as a real of its value and reads back; text is that of the bits in binary form.
SELECT count(*), count(*) FILTER (WHERE halfvec_send(v::text::halfvec) <> halfvec_send(v)) AS differing,
    count(*) FILTER (WHERE v::text <> '[' || (v::real[])[1]::text || ']') AS other_text
FROM (
    SELECT format('[%s]', s * CASE WHEN e = 0 THEN m * 2.0 ^ -24 ELSE (1024 + m) * 2.0 ^ (e - 25) END)::halfvec AS v
    FROM unnest(ARRAY[1, -1]) s, generate_series(0, 30) e, generate_series(0, 1023, 3) m
) halves;

-- Dimensions.
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT vector_dims(format('[%s]', repeat('1,', 15999) || '1')::halfvec)$$,
    $$SELECT format('[%s]', repeat('1,', 16000) || '1')::halfvec$$,
    $$SELECT format('[%s]', repeat('1,', 16000) || 'x')::halfvec$$,
    $$SELECT '[1,2,3]'::halfvec(3)$$,
    $$SELECT '[1,2,3]'::halfvec(2)$$,
    $$SELECT '[1,2,3]'::halfvec(3, 2)$$,
    $$SELECT '[1,2,3]'::halfvec(0)$$,
    $$SELECT '[1,2,3]'::halfvec(-1)$$,
    $$SELECT '[1,2,3]'::halfvec(16000)$$,
    $$SELECT '[1,2,3]'::halfvec(16001)$$,
    $$SELECT '[1,2,3]'::halfvec('a')$$,
    $$SELECT halfvec_in('[1,2]', 0, 3)$$,
    $$SELECT halfvec_in('[1,2]', 0, -1)$$
]) statement;

-- Columns, values stored out of line, and the catalog.
CREATE TABLE typed (id integer, v halfvec(3), w halfvec);
INSERT INTO typed VALUES (1, '[1,2,3]', '[1,2]'), (2, NULL, '[1,2,3,4]');
SELECT pg_temp.outcome($$INSERT INTO typed VALUES (3, '[1,2]', NULL)$$);
SELECT pg_temp.outcome($$INSERT INTO typed SELECT 3, w FROM typed$$);
SELECT attname, format_type(atttypid, atttypmod), attstorage FROM pg_attribute
WHERE attrelid = 'typed'::regclass AND attnum > 1 ORDER BY attnum;
SELECT id, pg_column_size(w) FROM typed ORDER BY id;
DROP TABLE typed;
CREATE TABLE stored (n integer, v halfvec);
INSERT INTO stored SELECT n, (SELECT array_agg(i % 10) FROM generate_series(1, n) i)::halfvec
FROM unnest(ARRAY[1, 58, 59, 60, 1010, 4000, 16000]) n;
ALTER TABLE stored ALTER v SET STORAGE main;
INSERT INTO stored SELECT n, v + v - v FROM stored;
SELECT n, count(*), count(DISTINCT v), bool_and(vector_dims(v) = n) AS dims, max(l1_distance(v, v)) AS self FROM stored GROUP BY n ORDER BY n;
DROP TABLE stored;
SELECT typlen, typbyval, typcategory, typalign, typstorage, typmodout::oid FROM pg_type WHERE typname = 'halfvec';
SELECT count(*) FILTER (WHERE provolatile <> 'i' OR NOT proisstrict OR proparallel <> 's') AS differing
FROM pg_proc WHERE 'halfvec'::regtype = ANY (proargtypes) AND prokind = 'f';
