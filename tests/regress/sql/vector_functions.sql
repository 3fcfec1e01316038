-- Distances, algebra and parts of vectors.
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

-- Distances.
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT l2_distance('[0,0]'::vector, '[3,4]')$$,
    $$SELECT l2_distance('[0,0]'::vector, '[0,1]')$$,
    $$SELECT '[0,0]'::vector <-> '[3,4]'$$,
    $$SELECT l2_distance('[1,2]'::vector, '[3]')$$,
    $$SELECT l2_distance('[3e38]'::vector, '[-3e38]')$$,
    $$SELECT l2_distance('[1,1,1,1,1,1,1,1,1]'::vector, '[1,1,1,1,1,1,1,4,5]')$$,
    $$SELECT l2_distance('[1e-30]'::vector, '[0]')$$,
    $$SELECT l2_distance(NULL::vector, '[1]')$$,
    $$SELECT vector_l2_squared_distance('[0,0]', '[3,4]')$$,
    $$SELECT vector_l2_squared_distance('[1]', '[1,2]')$$,
    $$SELECT inner_product('[1,2]'::vector, '[3,4]')$$,
    $$SELECT inner_product('[1,2]'::vector, '[3]')$$,
    $$SELECT inner_product('[3e38]'::vector, '[3e38]')$$,
    $$SELECT inner_product('[1,1,1,1,1,1,1,1,1]'::vector, '[1,2,3,4,5,6,7,8,9]')$$,
    $$SELECT '[1,2]'::vector <#> '[3,4]'$$,
    $$SELECT '[1,2]'::vector <#> '[0,0]'$$,
    $$SELECT '[1]'::vector <#> '[3,4]'$$,
    $$SELECT vector_negative_inner_product('[3e38]', '[3e38]')$$,
    $$SELECT cosine_distance('[1,2]'::vector, '[2,4]')$$,
    $$SELECT cosine_distance('[1,2]'::vector, '[0,0]')$$,
    $$SELECT cosine_distance('[0,0]'::vector, '[0,0]')$$,
    $$SELECT cosine_distance('[1,1]'::vector, '[1,1]')$$,
    $$SELECT cosine_distance('[1,0]'::vector, '[0,2]')$$,
    $$SELECT cosine_distance('[1,1]'::vector, '[-1,-1]')$$,
    $$SELECT cosine_distance('[1,2]'::vector, '[3]')$$,
    $$SELECT cosine_distance('[1,1]'::vector, '[1.1,1.1]')$$,
    $$SELECT cosine_distance('[1,1]'::vector, '[-1.1,-1.1]')$$,
    $$SELECT cosine_distance('[3e38]'::vector, '[3e38]')$$,
    $$SELECT cosine_distance('[1,2,3,4,5,6,7,8,9]'::vector, '[1,2,3,4,5,6,7,8,9]')$$,
    $$SELECT cosine_distance('[1,2,3,4,5,6,7,8,9]'::vector, '[-1,-2,-3,-4,-5,-6,-7,-8,-9]')$$,
    $$SELECT '[1,0]'::vector <=> '[0,1]'$$,
    $$SELECT l1_distance('[0,0]'::vector, '[3,4]')$$,
    $$SELECT l1_distance('[0,0]'::vector, '[0,1]')$$,
    $$SELECT l1_distance('[1,2]'::vector, '[3]')$$,
    $$SELECT l1_distance('[3e38]'::vector, '[-3e38]')$$,
    $$SELECT l1_distance('[1,2,3,4,5,6,7,8,9]'::vector, '[1,2,3,4,5,6,7,8,9]')$$,
    $$SELECT l1_distance('[1,2,3,4,5,6,7,8,9]'::vector, '[0,3,2,5,4,7,6,9,8]')$$,
    $$SELECT '[0,0]'::vector <+> '[3,-4]'$$,
    $$SELECT vector_spherical_distance('[1,0]', '[0,1]')$$,
    $$SELECT vector_spherical_distance('[1,0]', '[-1,0]')$$,
    $$SELECT vector_spherical_distance('[2,0]', '[2,0]')$$,
    $$SELECT vector_spherical_distance('[1]', '[1,2]')$$
]) statement;

-- Norms and dimensions.
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT vector_norm('[3,4]')$$,
    $$SELECT vector_norm('[0,1]')$$,
    $$SELECT vector_norm('[0,0]')$$,
    $$SELECT vector_norm('[3e37,4e37]')::real$$,
    $$SELECT vector_norm('[1e-30]')$$,
    $$SELECT vector_dims('[1,2,3]'::vector)$$,
    $$SELECT vector_dims(NULL::vector)$$,
    $$SELECT l2_normalize('[3,4]'::vector)$$,
    $$SELECT l2_normalize('[3,0]'::vector)$$,
    $$SELECT l2_normalize('[0,0.1]'::vector)$$,
    $$SELECT l2_normalize('[0,0]'::vector)$$,
    $$SELECT l2_normalize('[-0,0]'::vector)$$,
    $$SELECT l2_normalize('[3e38]'::vector)$$,
    $$SELECT l2_normalize('[3e38,1e-37]'::vector)$$,
    $$SELECT l2_normalize('[1e-45,0]'::vector)$$,
    $$SELECT l2_normalize('[3e37,3e-37,4e37,4e-37]'::vector)$$
]) statement;

-- Algebra.
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT '[1,2,3]'::vector + '[4,5,6]'$$,
    $$SELECT '[3e38]'::vector + '[3e38]'$$,
    $$SELECT '[1,2]'::vector + '[3]'$$,
    $$SELECT '[1]'::vector + NULL::vector$$,
    $$SELECT '[1e-45]'::vector + '[-1e-45]'$$,
    $$SELECT '[-0]'::vector + '[-0]'$$,
    $$SELECT '[1,2,3]'::vector - '[4,5,6]'$$,
    $$SELECT '[-3e38]'::vector - '[3e38]'$$,
    $$SELECT '[1,2]'::vector - '[3]'$$,
    $$SELECT '[1,2,3]'::vector * '[4,5,6]'$$,
    $$SELECT '[1e37]'::vector * '[1e37]'$$,
    $$SELECT '[-1e37]'::vector * '[1e37]'$$,
    $$SELECT '[1e-37]'::vector * '[1e-37]'$$,
    $$SELECT '[1e-37,0]'::vector * '[0,1e-37]'$$,
    $$SELECT '[1e-37,1e37]'::vector * '[1e-37,1e37]'$$,
    $$SELECT '[1e-23]'::vector * '[1e-22]'$$,
    $$SELECT '[1,2]'::vector * '[3]'$$,
    $$SELECT '[1,2,3]'::vector || '[4,5]'$$,
    $$SELECT array_fill(0, ARRAY[16000])::vector || '[1]'$$,
    $$SELECT vector_dims(array_fill(0, ARRAY[15999])::vector || '[1]')$$,
    $$SELECT '[1]'::vector || NULL::vector IS NULL$$,
    $$SELECT '[1]'::vector / '[1]'::vector$$,
    $$SELECT -'[1]'::vector$$
]) statement;

-- Parts.
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT subvector('[1,2,3,4,5]'::vector, 1, 3)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, 3, 2)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, -1, 3)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, 3, 9)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, 1, 0)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, 3, -1)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, -1, 2)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, 0, 1)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, 0, 2)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, 5, 1)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, 6, 1)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, 2147483647, 10)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, 2147483647, 2147483647)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, -2147483644, 2147483647)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, -2147483645, 2147483647)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, -2147483648, 2147483647)$$,
    $$SELECT subvector('[1,2,3,4,5]'::vector, 2, 2147483647)$$,
    $$SELECT binary_quantize('[1,0,-1]'::vector)$$,
    $$SELECT binary_quantize('[0,0.1,-0.2,-0.3,0.4,0.5,0.6,-0.7,0.8,-0.9,1]'::vector)$$,
    $$SELECT binary_quantize('[-0,1e-45]'::vector)$$,
    $$SELECT binary_quantize('[1,1,1,1,1,1,1,1]'::vector)$$,
    $$SELECT length(binary_quantize('[1,2,3,4,5,6,7,8,9]'::vector))$$,
    $$SELECT binary_quantize('[1,-1,1]'::vector) = B'101'$$,
    $$SELECT binary_quantize('[1,-1]'::vector)::bit(2)::integer$$
]) statement;

-- Comparison.
SELECT statement, pg_temp.outcome(statement) FROM unnest(ARRAY[
    $$SELECT '[1,2,3]'::vector < '[1,2,3]'$$,
    $$SELECT '[1,2,3]'::vector < '[1,2]'$$,
    $$SELECT '[1,2]'::vector < '[1,2,3]'$$,
    $$SELECT '[1,2]'::vector < '[2]'$$,
    $$SELECT '[1,2,3]'::vector <= '[1,2,3]'$$,
    $$SELECT '[1,2,3]'::vector <= '[1,2]'$$,
    $$SELECT '[1,2,3]'::vector = '[1,2,3]'$$,
    $$SELECT '[1,2,3]'::vector = '[1,2]'$$,
    $$SELECT '[0]'::vector = '[-0]'$$,
    $$SELECT '[1,2,3]'::vector <> '[1,2,3]'$$,
    $$SELECT '[1,2,3]'::vector <> '[1,2]'$$,
    $$SELECT '[1,2,3]'::vector >= '[1,2,3]'$$,
    $$SELECT '[1,2,3]'::vector >= '[1,2]'$$,
    $$SELECT '[1,2,3]'::vector > '[1,2,3]'$$,
    $$SELECT '[1,2,3]'::vector > '[1,2]'$$,
    $$SELECT '[2]'::vector > '[1,2]'$$,
    $$SELECT vector_cmp('[1,2,3]', '[1,2,3]')$$,
    $$SELECT vector_cmp('[1,2,3]', '[0,0,0]')$$,
    $$SELECT vector_cmp('[0,0,0]', '[1,2,3]')$$,
    $$SELECT vector_cmp('[1,2]', '[1,2,3]')$$,
    $$SELECT vector_cmp('[1,2,3]', '[1,2]')$$,
    $$SELECT vector_cmp('[1,2]', '[2,3,4]')$$,
    $$SELECT vector_cmp('[2,3]', '[1,2,3]')$$,
    $$SELECT '[1]'::vector = NULL::vector$$
]) statement;

-- Operators as the planner sees them.
SELECT oprname, oprcom::regoperator, oprnegate::regoperator, oprcanhash, oprcanmerge FROM pg_operator
WHERE oprleft = 'vector'::regtype AND oprright = 'vector'::regtype AND oprname !~ '[%~]' ORDER BY oprname COLLATE "C";
