-- Distances of bit strings.
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
    $$SELECT hamming_distance('111', '111')$$,
    $$SELECT hamming_distance('111', '110')$$,
    $$SELECT hamming_distance('111', '000')$$,
    $$SELECT hamming_distance('', '')$$,
    $$SELECT hamming_distance('111', '00')$$,
    $$SELECT hamming_distance(NULL, '1')$$,
    $$SELECT hamming_distance(repeat('10', 500)::bit(1000), repeat('01', 500)::bit(1000))$$,
    $$SELECT B'101' <~> B'011'$$,
    $$SELECT B'1' <~> B'10'$$,
    $$SELECT jaccard_distance('1111', '1111')$$,
    $$SELECT jaccard_distance('1111', '1110')$$,
    $$SELECT jaccard_distance('1111', '1100')$$,
    $$SELECT jaccard_distance('1111', '1000')$$,
    $$SELECT jaccard_distance('1111', '0000')$$,
    $$SELECT jaccard_distance('1100', '1000')$$,
    $$SELECT jaccard_distance('', '')$$,
    $$SELECT jaccard_distance('1111', '000')$$,
    $$SELECT jaccard_distance('0000', '0000')$$,
    $$SELECT jaccard_distance(repeat('110', 300)::bit(900), repeat('011', 300)::bit(900))$$,
    $$SELECT B'1100' <%> B'0110'$$,
    $$SELECT B'1' <%> B'10'$$,
    $$SELECT binary_quantize('[1,-1,2]'::vector) <~> binary_quantize('[1,1,-2]'::halfvec)$$,
    $$SELECT '101'::varbit <~> '100'::varbit$$
]) statement;

-- Every length up to three registers: the counts are those of the bits, one by one.
SELECT count(*), count(*) FILTER (WHERE a <~> b <> different) AS other_hamming,
    count(*) FILTER (WHERE a <%> b <> CASE WHEN shared = 0 THEN 1 ELSE 1 - shared / (shared + different) END) AS other_jaccard
FROM (
    SELECT a, b, length(replace((a # b)::text, '0', ''))::float8 AS different,
        length(replace((a & b)::text, '0', ''))::float8 AS shared
    FROM generate_series(1, 1600, 7) length, LATERAL (
        SELECT left(repeat('1100101', 300), length)::"bit" AS a, left(repeat('10110', 400), length)::"bit" AS b
    ) strings
) pairs;
SELECT oprname, oprcom::regoperator, oprnegate::regoperator, oprcanhash FROM pg_operator
WHERE oprleft = 'bit'::regtype AND oprname IN ('<~>', '<%>') ORDER BY oprname COLLATE "C";
SELECT proname, provolatile, proisstrict, proparallel FROM pg_proc WHERE proname IN ('hamming_distance', 'jaccard_distance') ORDER BY 1;
