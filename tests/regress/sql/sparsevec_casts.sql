-- Casts between sparsevec, the dense types and arrays.
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
    $$SELECT '{1,0,3}'::integer[]::sparsevec$$,
    $$SELECT '{1,2,3}'::integer[]::sparsevec(2)$$,
    $$SELECT '{1,NULL}'::integer[]::sparsevec$$,
    $$SELECT '{}'::integer[]::sparsevec$$,
    $$SELECT '{{1,2},{3,4}}'::integer[]::sparsevec$$,
    $$SELECT '{1,0,3}'::real[]::sparsevec$$,
    $$SELECT '{1,2,3}'::real[]::sparsevec(2)$$,
    $$SELECT '{1,NULL}'::real[]::sparsevec$$,
    $$SELECT '{}'::real[]::sparsevec$$,
    $$SELECT '{{1,2},{3,4}}'::real[]::sparsevec$$,
    $$SELECT '{1,0,3}'::float8[]::sparsevec$$,
    $$SELECT '{1,2,3}'::float8[]::sparsevec(2)$$,
    $$SELECT '{1,NULL}'::float8[]::sparsevec$$,
    $$SELECT '{}'::float8[]::sparsevec$$,
    $$SELECT '{{1,2},{3,4}}'::float8[]::sparsevec$$,
    $$SELECT '{1,0,3}'::numeric[]::sparsevec$$,
    $$SELECT '{1,2,3}'::numeric[]::sparsevec(2)$$,
    $$SELECT '{1,NULL}'::numeric[]::sparsevec$$,
    $$SELECT '{}'::numeric[]::sparsevec$$,
    $$SELECT '{{1,2},{3,4}}'::numeric[]::sparsevec$$,
    $$SELECT '{1,NaN}'::real[]::sparsevec$$,
    $$SELECT '{Infinity}'::real[]::sparsevec$$,
    $$SELECT '{1,NaN}'::float8[]::sparsevec$$,
    $$SELECT '{Infinity}'::float8[]::sparsevec$$,
    $$SELECT '{1,NaN}'::numeric[]::sparsevec$$,
    $$SELECT '{Infinity}'::numeric[]::sparsevec$$,
    $$SELECT '{0,-0,1e300}'::float8[]::sparsevec$$,
    $$SELECT '{1e-300,2}'::float8[]::sparsevec$$,
    $$SELECT '{4e38}'::numeric[]::sparsevec$$,
    $$SELECT array_fill(1, ARRAY[16001])::sparsevec$$,
    $$SELECT (array_fill(0, ARRAY[20000]) || 5)::sparsevec$$,
    $$SELECT '{1}'::bigint[]::sparsevec$$,
    $$SELECT '[0,1.5,-0,2]'::vector::sparsevec$$,
    $$SELECT '[0,1.5,-0,2]'::halfvec::sparsevec$$,
    $$SELECT '[0,0]'::vector::sparsevec$$,
    $$SELECT '[0,1]'::vector::sparsevec(3)$$,
    $$SELECT '[0,1]'::halfvec::sparsevec(3)$$,
    $$SELECT '{2:1.5,4:2}/4'::sparsevec::vector$$,
    $$SELECT '{2:1.5,4:2}/4'::sparsevec::halfvec$$,
    $$SELECT '{2:1.5,4:2}/4'::sparsevec::vector(3)$$,
    $$SELECT '{2:1.5,4:2}/4'::sparsevec::halfvec(3)$$,
    $$SELECT '{}/16001'::sparsevec::vector$$,
    $$SELECT '{}/16001'::sparsevec::halfvec$$,
    $$SELECT '{1:65520}/2'::sparsevec::halfvec$$,
    $$SELECT '{1:1e-9}/2'::sparsevec::halfvec$$,
    $$SELECT '{1:1}/2'::sparsevec::sparsevec(3)$$,
    $$SELECT '{1:1}/2'::sparsevec(2)::sparsevec$$,
    $$SELECT sparsevec('{1:1}/2', 3, false)$$,
    $$SELECT vector_to_sparsevec('[0,1]', 3, false)$$,
    $$SELECT halfvec_to_sparsevec('[0,1]', -1, false)$$,
    $$SELECT sparsevec_to_vector('{1:1}/2', -1, false)$$,
    $$SELECT sparsevec_to_halfvec('{1:1}/2', 3, false)$$,
    $$SELECT array_to_sparsevec(ARRAY[1,0], 3, false)$$,
    $$SELECT '{1:1}/2'::sparsevec::real[]$$,
    $$SELECT '[1,2]'::vector <-> '{1:1}/2'::sparsevec$$,
    $$SELECT '{1:1}/2'::sparsevec::text$$
]) statement;

CREATE TABLE assigned (s sparsevec(2), v vector(2), h halfvec(2));
INSERT INTO assigned VALUES (ARRAY[0,2], '{1:3}/2'::sparsevec, '{2:4}/2'::sparsevec), ('[0,0.1]'::vector, NULL, NULL), ('[0,0.1]'::halfvec, NULL, NULL);
SELECT * FROM assigned;
SELECT pg_temp.outcome($$INSERT INTO assigned (s) VALUES (ARRAY[1,2,3])$$);
DROP TABLE assigned;
SELECT castsource::regtype, casttarget::regtype, castcontext, castmethod FROM pg_cast
WHERE 'sparsevec'::regtype IN (castsource, casttarget) ORDER BY castsource::regtype::text, casttarget::regtype::text;
