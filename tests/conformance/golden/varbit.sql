-- Rows of the golden files: what binary_quantize makes, as long as the vectors are.
INSERT INTO golden_varbit VALUES
    (1, binary_quantize('[1,-1,0,2]'::vector)),
    (2, NULL),
    (3, binary_quantize('[-0]'::vector)),
    (4, binary_quantize('[1,2,3,4,5,6,7,8]'::halfvec)),
    (5, binary_quantize('[1,2,3,4,5,6,7,8,-9]'::halfvec));
INSERT INTO golden_varbit SELECT 6, binary_quantize(array_agg(sin(i)::real ORDER BY i)::vector) FROM generate_series(1, 300) i;
