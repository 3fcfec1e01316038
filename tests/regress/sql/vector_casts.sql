-- Casts between vectors and arrays.
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

SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT ARRAY[1,2,3]::vector$$,
    $$SELECT ARRAY[1.0,2.0,3.0]::vector$$,
    $$SELECT ARRAY[1,2,3]::real[]::vector$$,
    $$SELECT ARRAY[1,2,3]::float8[]::vector$$,
    $$SELECT ARRAY[1,2,3]::numeric[]::vector$$,
    $$SELECT '{1,2,3}'::real[]::vector(3)$$,
    $$SELECT '{1,2,3}'::real[]::vector(2)$$,
    $$SELECT '{1,2,3}'::integer[]::vector(2)$$,
    $$SELECT '{1,2,3}'::float8[]::vector(2)$$,
    $$SELECT '{1,2,3}'::numeric[]::vector(2)$$,
    $$SELECT '{NULL}'::real[]::vector$$,
    $$SELECT '{1,NULL}'::integer[]::vector$$,
    $$SELECT '{NULL,1}'::float8[]::vector$$,
    $$SELECT '{1,NULL,3}'::numeric[]::vector$$,
    $$SELECT '{NaN}'::real[]::vector$$,
    $$SELECT '{Infinity}'::real[]::vector$$,
    $$SELECT '{-Infinity}'::real[]::vector$$,
    $$SELECT '{NaN}'::float8[]::vector$$,
    $$SELECT '{1,Infinity}'::float8[]::vector$$,
    $$SELECT '{NaN}'::numeric[]::vector$$,
    $$SELECT '{Infinity}'::numeric[]::vector$$,
    $$SELECT '{}'::real[]::vector$$,
    $$SELECT '{}'::integer[]::vector$$,
    $$SELECT '{}'::float8[]::vector$$,
    $$SELECT '{}'::numeric[]::vector$$,
    $$SELECT '{{1}}'::real[]::vector$$,
    $$SELECT '{{1,2},{3,4}}'::integer[]::vector$$,
    $$SELECT '{{1,NULL}}'::real[]::vector$$,
    $$SELECT '{{1}}'::numeric[]::vector$$,
    $$SELECT '[0:2]={1,2,3}'::real[]::vector$$,
    $$SELECT '{1e300}'::float8[]::vector$$,
    $$SELECT '{-1e39}'::float8[]::vector$$,
    $$SELECT '{1e-300}'::float8[]::vector$$,
    $$SELECT '{4e38}'::numeric[]::vector$$,
    $$SELECT '{1e-100}'::numeric[]::vector$$,
    $$SELECT '{16777217,2147483647,-2147483648}'::integer[]::vector$$,
    $$SELECT '{0.1,16777217}'::float8[]::vector$$,
    $$SELECT '{0.1,123456789.123456789}'::numeric[]::vector$$,
    $$SELECT '{0,-0}'::real[]::vector$$,
    $$SELECT vector_dims(array_fill(0, ARRAY[16000])::vector)$$,
    $$SELECT array_fill(0, ARRAY[16001])::vector$$,
    $$SELECT array_fill(0::real, ARRAY[16001])::vector$$,
    $$SELECT array_fill(0::numeric, ARRAY[16001])::vector$$,
    $$SELECT '{a}'::text[]::vector$$,
    $$SELECT '{1}'::bigint[]::vector$$,
    $$SELECT '{1}'::smallint[]::vector$$,
    $$SELECT '[1,2,3]'::vector::real[]$$,
    $$SELECT '[1.5,-0,1e-45]'::vector::real[]$$,
    $$SELECT array_dims('[1,2,3]'::vector::real[])$$,
    $$SELECT '[1,2,3]'::vector::float8[]$$,
    $$SELECT '[1,2,3]'::vector::integer[]$$,
    $$SELECT '[1,2,3]'::vector::numeric[]$$,
    $$SELECT '[1,2]'::vector::text$$,
    $$SELECT '[1,2]'::text::vector$$,
    $$SELECT '[1,2]'::varchar::vector$$,
    $$SELECT NULL::real[]::vector IS NULL$$,
    $$SELECT NULL::vector::real[] IS NULL$$,
    $$SELECT '[1,2]'::vector::vector(2)$$,
    $$SELECT '[1,2]'::vector::vector(3)$$,
    $$SELECT '[1,2]'::vector(2)::vector$$,
    $$SELECT vector('[1,2]', 2, true)$$,
    $$SELECT vector('[1,2]', 3, false)$$,
    $$SELECT vector('[1,2]', -1, false)$$,
    $$SELECT vector_to_float4('[1,2]', 5, false)$$,
    $$SELECT array_to_vector(ARRAY[1,2], 2, false)$$,
    $$SELECT array_to_vector(ARRAY[1,2], 3, false)$$,
    $$SELECT 1 = ANY ('[1,2]'::vector::real[])$$,
    $$SELECT unnest('[5,6]'::vector) LIMIT 1$$,
    $$SELECT array_length('[1,2,3]'::vector, 1)$$,
    $$SELECT '[1,2]'::vector = ARRAY[1,2]$$,
    $$SELECT '[1,2]'::vector = ARRAY[1,2]::real[]$$,
    $$SELECT l2_distance('[1,2]'::vector, ARRAY[1,3]::vector)$$
]) statement;

-- An array with a null bitmap but no NULL, an array from a slice, and arrays of a domain.
SELECT (ARRAY[1,NULL,3]::real[])[1:1]::vector, (ARRAY[1,2,3]::real[])[2:3]::vector;
CREATE DOMAIN share AS real CHECK (VALUE BETWEEN 0 AND 1);
SELECT pg_temp.outcome($$SELECT '{0.25,1}'::share[]::real[]::vector$$);
DROP DOMAIN share;

-- Assignment.
CREATE TABLE assigned (v vector(2));
INSERT INTO assigned VALUES (ARRAY[1,2]), (ARRAY[1.5,2.5]), (ARRAY[1,2]::real[]), (ARRAY[1e10,2]::float8[]);
SELECT pg_temp.outcome($$INSERT INTO assigned VALUES (ARRAY[1,2,3])$$);
SELECT pg_temp.outcome($$INSERT INTO assigned VALUES ('{1,2}')$$);
SELECT pg_temp.outcome($$INSERT INTO assigned VALUES (ARRAY['1','2'])$$);
SELECT * FROM assigned;
DROP TABLE assigned;

-- Big arrays, stored out of line and compressed.
CREATE TABLE arrays (a real[]);
INSERT INTO arrays SELECT array_agg(i % 7) FROM generate_series(1, 16000) i;
SELECT vector_dims(a::vector), a::vector::real[] = a AS same FROM arrays;
DROP TABLE arrays;

SELECT castsource::regtype, casttarget::regtype, castcontext, castmethod FROM pg_cast
WHERE 'vector'::regtype IN (castsource, casttarget)
    AND castsource::regtype::text !~ 'halfvec|sparsevec' AND casttarget::regtype::text !~ 'halfvec|sparsevec'
ORDER BY castsource::regtype::text, casttarget::regtype::text;
