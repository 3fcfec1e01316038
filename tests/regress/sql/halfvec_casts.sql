-- Casts between halfvec, vector and arrays.
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
    $$SELECT '{1,0,3}'::integer[]::halfvec$$,
    $$SELECT '{1,2,3}'::integer[]::halfvec(2)$$,
    $$SELECT '{1,NULL}'::integer[]::halfvec$$,
    $$SELECT '{}'::integer[]::halfvec$$,
    $$SELECT '{{1,2},{3,4}}'::integer[]::halfvec$$,
    $$SELECT '{1,0,3}'::real[]::halfvec$$,
    $$SELECT '{1,2,3}'::real[]::halfvec(2)$$,
    $$SELECT '{1,NULL}'::real[]::halfvec$$,
    $$SELECT '{}'::real[]::halfvec$$,
    $$SELECT '{{1,2},{3,4}}'::real[]::halfvec$$,
    $$SELECT '{1,0,3}'::float8[]::halfvec$$,
    $$SELECT '{1,2,3}'::float8[]::halfvec(2)$$,
    $$SELECT '{1,NULL}'::float8[]::halfvec$$,
    $$SELECT '{}'::float8[]::halfvec$$,
    $$SELECT '{{1,2},{3,4}}'::float8[]::halfvec$$,
    $$SELECT '{1,0,3}'::numeric[]::halfvec$$,
    $$SELECT '{1,2,3}'::numeric[]::halfvec(2)$$,
    $$SELECT '{1,NULL}'::numeric[]::halfvec$$,
    $$SELECT '{}'::numeric[]::halfvec$$,
    $$SELECT '{{1,2},{3,4}}'::numeric[]::halfvec$$,
    $$SELECT '{1,NaN}'::real[]::halfvec$$,
    $$SELECT '{Infinity}'::real[]::halfvec$$,
    $$SELECT '{1,NaN}'::float8[]::halfvec$$,
    $$SELECT '{Infinity}'::float8[]::halfvec$$,
    $$SELECT '{1,NaN}'::numeric[]::halfvec$$,
    $$SELECT '{Infinity}'::numeric[]::halfvec$$,
    $$SELECT '{65520}'::integer[]::halfvec$$,
    $$SELECT '{65519}'::integer[]::halfvec$$,
    $$SELECT '{1,-70000}'::real[]::halfvec$$,
    $$SELECT '{NaN,70000}'::real[]::halfvec$$,
    $$SELECT '{1e300}'::float8[]::halfvec$$,
    $$SELECT '{123456.789}'::float8[]::halfvec$$,
    $$SELECT '{1e5}'::numeric[]::halfvec$$,
    $$SELECT '{4e38}'::numeric[]::halfvec$$,
    $$SELECT '{0.1,0.30004882,2049}'::float8[]::halfvec$$,
    $$SELECT vector_dims(array_fill(0, ARRAY[16000])::halfvec)$$,
    $$SELECT array_fill(0, ARRAY[16001])::halfvec$$,
    $$SELECT '{1}'::bigint[]::halfvec$$,
    $$SELECT '[1,2.5,-0]'::halfvec::real[]$$,
    $$SELECT '[1,2]'::halfvec::float8[]$$,
    $$SELECT '[1,2.5,-0]'::halfvec::vector$$,
    $$SELECT '[1,2]'::halfvec::vector(3)$$,
    $$SELECT '[1,0.1,2049,-0,1e-9]'::vector::halfvec$$,
    $$SELECT '[1,2]'::vector::halfvec(3)$$,
    $$SELECT '[1,65520]'::vector::halfvec$$,
    $$SELECT '[-1e30]'::vector::halfvec$$,
    $$SELECT '[1,2]'::halfvec::halfvec(3)$$,
    $$SELECT '[1,2]'::halfvec(2)::halfvec$$,
    $$SELECT halfvec('[1,2]', 3, false)$$,
    $$SELECT halfvec_to_vector('[1,2]', 3, false)$$,
    $$SELECT vector_to_halfvec('[1,2]', -1, true)$$,
    $$SELECT halfvec_to_float4('[1,2]', 5, false)$$,
    $$SELECT array_to_halfvec(ARRAY[1,2], 3, false)$$,
    $$SELECT '[1,2]'::vector <-> '[1,3]'::halfvec$$,
    $$SELECT '[1,2]'::vector = '[1,2]'::halfvec$$,
    $$SELECT '[1,2]'::halfvec::text$$,
    $$SELECT NULL::halfvec::vector IS NULL$$
]) statement;

CREATE TABLE assigned (h halfvec(2), v vector(2), r real[]);
INSERT INTO assigned VALUES (ARRAY[1,2], '[3,4]'::halfvec, '[5,6]'::halfvec), ('[0.1,2]'::vector, ARRAY[1,2], NULL);
SELECT * FROM assigned;
SELECT pg_temp.outcome($$INSERT INTO assigned (h) VALUES (ARRAY[1,2,3])$$);
SELECT pg_temp.outcome($$INSERT INTO assigned (h) VALUES ('[1,1e5]'::vector)$$);
DROP TABLE assigned;
SELECT castsource::regtype, casttarget::regtype, castcontext, castmethod FROM pg_cast
WHERE 'halfvec'::regtype IN (castsource, casttarget) AND 'sparsevec' NOT IN (castsource::regtype::text, casttarget::regtype::text)
ORDER BY castsource::regtype::text, casttarget::regtype::text;
