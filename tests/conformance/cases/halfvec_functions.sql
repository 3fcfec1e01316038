-- halfvec: functions.

-- l2_distance.
SELECT l2_distance('[0,0]'::halfvec, '[3,4]');
SELECT l2_distance('[1,2]'::halfvec, '[1,2]');
SELECT l2_distance('[1,2]'::halfvec, '[3,4]');
SELECT l2_distance('[1,2]'::halfvec, '[-1,-2]');
SELECT l2_distance('[1,0]'::halfvec, '[0,1]');
SELECT l2_distance('[1,1]'::halfvec, '[2,2]');
SELECT l2_distance('[1,2,3,4,5,6,7,8,9]'::halfvec, '[9,8,7,6,5,4,3,2,1]');
SELECT l2_distance('[0.5,0.25]'::halfvec, '[-0.5,4]');
SELECT l2_distance('[0,0]'::halfvec, '[0,0]');
SELECT l2_distance('[1,2]'::halfvec, '[0,0]');
SELECT l2_distance('[-0]'::halfvec, '[0]');
SELECT l2_distance('[1]'::halfvec, '[2]');
SELECT l2_distance('[1,2]'::halfvec, '[3]');
SELECT l2_distance('[1]'::halfvec, '[2,3]');
SELECT l2_distance('[65504,65504]'::halfvec, '[65504,65504]');
SELECT l2_distance('[65504,65504]'::halfvec, '[-65504,-65504]');
SELECT l2_distance('[6e-8,6e-8]'::halfvec, '[6e-8,6e-8]');
SELECT l2_distance(NULL::halfvec, '[1]');
SELECT l2_distance('[1]'::halfvec, NULL);

-- inner_product.
SELECT inner_product('[0,0]'::halfvec, '[3,4]');
SELECT inner_product('[1,2]'::halfvec, '[1,2]');
SELECT inner_product('[1,2]'::halfvec, '[3,4]');
SELECT inner_product('[1,2]'::halfvec, '[-1,-2]');
SELECT inner_product('[1,0]'::halfvec, '[0,1]');
SELECT inner_product('[1,1]'::halfvec, '[2,2]');
SELECT inner_product('[1,2,3,4,5,6,7,8,9]'::halfvec, '[9,8,7,6,5,4,3,2,1]');
SELECT inner_product('[0.5,0.25]'::halfvec, '[-0.5,4]');
SELECT inner_product('[0,0]'::halfvec, '[0,0]');
SELECT inner_product('[1,2]'::halfvec, '[0,0]');
SELECT inner_product('[-0]'::halfvec, '[0]');
SELECT inner_product('[1]'::halfvec, '[2]');
SELECT inner_product('[1,2]'::halfvec, '[3]');
SELECT inner_product('[1]'::halfvec, '[2,3]');
SELECT inner_product('[65504,65504]'::halfvec, '[65504,65504]');
SELECT inner_product('[65504,65504]'::halfvec, '[-65504,-65504]');
SELECT inner_product('[6e-8,6e-8]'::halfvec, '[6e-8,6e-8]');
SELECT inner_product(NULL::halfvec, '[1]');
SELECT inner_product('[1]'::halfvec, NULL);

-- cosine_distance.
SELECT cosine_distance('[0,0]'::halfvec, '[3,4]');
SELECT cosine_distance('[1,2]'::halfvec, '[1,2]');
SELECT cosine_distance('[1,2]'::halfvec, '[3,4]');
SELECT cosine_distance('[1,2]'::halfvec, '[-1,-2]');
SELECT cosine_distance('[1,0]'::halfvec, '[0,1]');
SELECT cosine_distance('[1,1]'::halfvec, '[2,2]');
SELECT cosine_distance('[1,2,3,4,5,6,7,8,9]'::halfvec, '[9,8,7,6,5,4,3,2,1]');
SELECT cosine_distance('[0.5,0.25]'::halfvec, '[-0.5,4]');
SELECT cosine_distance('[0,0]'::halfvec, '[0,0]');
SELECT cosine_distance('[1,2]'::halfvec, '[0,0]');
SELECT cosine_distance('[-0]'::halfvec, '[0]');
SELECT cosine_distance('[1]'::halfvec, '[2]');
SELECT cosine_distance('[1,2]'::halfvec, '[3]');
SELECT cosine_distance('[1]'::halfvec, '[2,3]');
SELECT cosine_distance('[65504,65504]'::halfvec, '[65504,65504]');
SELECT cosine_distance('[65504,65504]'::halfvec, '[-65504,-65504]');
SELECT cosine_distance('[6e-8,6e-8]'::halfvec, '[6e-8,6e-8]');
SELECT cosine_distance(NULL::halfvec, '[1]');
SELECT cosine_distance('[1]'::halfvec, NULL);

-- l1_distance.
SELECT l1_distance('[0,0]'::halfvec, '[3,4]');
SELECT l1_distance('[1,2]'::halfvec, '[1,2]');
SELECT l1_distance('[1,2]'::halfvec, '[3,4]');
SELECT l1_distance('[1,2]'::halfvec, '[-1,-2]');
SELECT l1_distance('[1,0]'::halfvec, '[0,1]');
SELECT l1_distance('[1,1]'::halfvec, '[2,2]');
SELECT l1_distance('[1,2,3,4,5,6,7,8,9]'::halfvec, '[9,8,7,6,5,4,3,2,1]');
SELECT l1_distance('[0.5,0.25]'::halfvec, '[-0.5,4]');
SELECT l1_distance('[0,0]'::halfvec, '[0,0]');
SELECT l1_distance('[1,2]'::halfvec, '[0,0]');
SELECT l1_distance('[-0]'::halfvec, '[0]');
SELECT l1_distance('[1]'::halfvec, '[2]');
SELECT l1_distance('[1,2]'::halfvec, '[3]');
SELECT l1_distance('[1]'::halfvec, '[2,3]');
SELECT l1_distance('[65504,65504]'::halfvec, '[65504,65504]');
SELECT l1_distance('[65504,65504]'::halfvec, '[-65504,-65504]');
SELECT l1_distance('[6e-8,6e-8]'::halfvec, '[6e-8,6e-8]');
SELECT l1_distance(NULL::halfvec, '[1]');
SELECT l1_distance('[1]'::halfvec, NULL);

-- halfvec_l2_squared_distance.
SELECT halfvec_l2_squared_distance('[0,0]'::halfvec, '[3,4]');
SELECT halfvec_l2_squared_distance('[1,2]'::halfvec, '[1,2]');
SELECT halfvec_l2_squared_distance('[1,2]'::halfvec, '[3,4]');
SELECT halfvec_l2_squared_distance('[1,2]'::halfvec, '[-1,-2]');
SELECT halfvec_l2_squared_distance('[1,0]'::halfvec, '[0,1]');
SELECT halfvec_l2_squared_distance('[1,1]'::halfvec, '[2,2]');
SELECT halfvec_l2_squared_distance('[1,2,3,4,5,6,7,8,9]'::halfvec, '[9,8,7,6,5,4,3,2,1]');
SELECT halfvec_l2_squared_distance('[0.5,0.25]'::halfvec, '[-0.5,4]');
SELECT halfvec_l2_squared_distance('[0,0]'::halfvec, '[0,0]');
SELECT halfvec_l2_squared_distance('[1,2]'::halfvec, '[0,0]');
SELECT halfvec_l2_squared_distance('[-0]'::halfvec, '[0]');
SELECT halfvec_l2_squared_distance('[1]'::halfvec, '[2]');
SELECT halfvec_l2_squared_distance('[1,2]'::halfvec, '[3]');
SELECT halfvec_l2_squared_distance('[1]'::halfvec, '[2,3]');
SELECT halfvec_l2_squared_distance('[65504,65504]'::halfvec, '[65504,65504]');
SELECT halfvec_l2_squared_distance('[65504,65504]'::halfvec, '[-65504,-65504]');
SELECT halfvec_l2_squared_distance('[6e-8,6e-8]'::halfvec, '[6e-8,6e-8]');
SELECT halfvec_l2_squared_distance(NULL::halfvec, '[1]');
SELECT halfvec_l2_squared_distance('[1]'::halfvec, NULL);

-- halfvec_negative_inner_product.
SELECT halfvec_negative_inner_product('[0,0]'::halfvec, '[3,4]');
SELECT halfvec_negative_inner_product('[1,2]'::halfvec, '[1,2]');
SELECT halfvec_negative_inner_product('[1,2]'::halfvec, '[3,4]');
SELECT halfvec_negative_inner_product('[1,2]'::halfvec, '[-1,-2]');
SELECT halfvec_negative_inner_product('[1,0]'::halfvec, '[0,1]');
SELECT halfvec_negative_inner_product('[1,1]'::halfvec, '[2,2]');
SELECT halfvec_negative_inner_product('[1,2,3,4,5,6,7,8,9]'::halfvec, '[9,8,7,6,5,4,3,2,1]');
SELECT halfvec_negative_inner_product('[0.5,0.25]'::halfvec, '[-0.5,4]');
SELECT halfvec_negative_inner_product('[0,0]'::halfvec, '[0,0]');
SELECT halfvec_negative_inner_product('[1,2]'::halfvec, '[0,0]');
SELECT halfvec_negative_inner_product('[-0]'::halfvec, '[0]');
SELECT halfvec_negative_inner_product('[1]'::halfvec, '[2]');
SELECT halfvec_negative_inner_product('[1,2]'::halfvec, '[3]');
SELECT halfvec_negative_inner_product('[1]'::halfvec, '[2,3]');
SELECT halfvec_negative_inner_product('[65504,65504]'::halfvec, '[65504,65504]');
SELECT halfvec_negative_inner_product('[65504,65504]'::halfvec, '[-65504,-65504]');
SELECT halfvec_negative_inner_product('[6e-8,6e-8]'::halfvec, '[6e-8,6e-8]');
SELECT halfvec_negative_inner_product(NULL::halfvec, '[1]');
SELECT halfvec_negative_inner_product('[1]'::halfvec, NULL);

-- halfvec_spherical_distance.
SELECT halfvec_spherical_distance('[0,0]'::halfvec, '[3,4]');
SELECT halfvec_spherical_distance('[1,2]'::halfvec, '[1,2]');
SELECT halfvec_spherical_distance('[1,2]'::halfvec, '[3,4]');
SELECT halfvec_spherical_distance('[1,2]'::halfvec, '[-1,-2]');
SELECT halfvec_spherical_distance('[1,0]'::halfvec, '[0,1]');
SELECT halfvec_spherical_distance('[1,1]'::halfvec, '[2,2]');
SELECT halfvec_spherical_distance('[1,2,3,4,5,6,7,8,9]'::halfvec, '[9,8,7,6,5,4,3,2,1]');
SELECT halfvec_spherical_distance('[0.5,0.25]'::halfvec, '[-0.5,4]');
SELECT halfvec_spherical_distance('[0,0]'::halfvec, '[0,0]');
SELECT halfvec_spherical_distance('[1,2]'::halfvec, '[0,0]');
SELECT halfvec_spherical_distance('[-0]'::halfvec, '[0]');
SELECT halfvec_spherical_distance('[1]'::halfvec, '[2]');
SELECT halfvec_spherical_distance('[1,2]'::halfvec, '[3]');
SELECT halfvec_spherical_distance('[1]'::halfvec, '[2,3]');
SELECT halfvec_spherical_distance('[65504,65504]'::halfvec, '[65504,65504]');
SELECT halfvec_spherical_distance('[65504,65504]'::halfvec, '[-65504,-65504]');
SELECT halfvec_spherical_distance('[6e-8,6e-8]'::halfvec, '[6e-8,6e-8]');
SELECT halfvec_spherical_distance(NULL::halfvec, '[1]');
SELECT halfvec_spherical_distance('[1]'::halfvec, NULL);

-- Longer vectors, whose sums depend on their order.
-- close: 2e-5
SELECT l2_distance(array_agg(sin(i) ORDER BY i)::halfvec, array_agg(cos(i) ORDER BY i)::halfvec) FROM generate_series(1, 13) i;
-- close: 2e-5
SELECT l2_distance(array_agg(sin(i) ORDER BY i)::halfvec, array_agg(cos(i) ORDER BY i)::halfvec) FROM generate_series(1, 100) i;
-- close: 2e-5
SELECT l2_distance(array_agg(sin(i) ORDER BY i)::halfvec, array_agg(cos(i) ORDER BY i)::halfvec) FROM generate_series(1, 1537) i;
-- close: 2e-5
SELECT inner_product(array_agg(sin(i) ORDER BY i)::halfvec, array_agg(cos(i) ORDER BY i)::halfvec) FROM generate_series(1, 13) i;
-- close: 2e-5
SELECT inner_product(array_agg(sin(i) ORDER BY i)::halfvec, array_agg(cos(i) ORDER BY i)::halfvec) FROM generate_series(1, 100) i;
-- close: 2e-5
SELECT inner_product(array_agg(sin(i) ORDER BY i)::halfvec, array_agg(cos(i) ORDER BY i)::halfvec) FROM generate_series(1, 1537) i;
-- close: 2e-5
SELECT cosine_distance(array_agg(sin(i) ORDER BY i)::halfvec, array_agg(cos(i) ORDER BY i)::halfvec) FROM generate_series(1, 13) i;
-- close: 2e-5
SELECT cosine_distance(array_agg(sin(i) ORDER BY i)::halfvec, array_agg(cos(i) ORDER BY i)::halfvec) FROM generate_series(1, 100) i;
-- close: 2e-5
SELECT cosine_distance(array_agg(sin(i) ORDER BY i)::halfvec, array_agg(cos(i) ORDER BY i)::halfvec) FROM generate_series(1, 1537) i;
-- close: 2e-5
SELECT l1_distance(array_agg(sin(i) ORDER BY i)::halfvec, array_agg(cos(i) ORDER BY i)::halfvec) FROM generate_series(1, 13) i;
-- close: 2e-5
SELECT l1_distance(array_agg(sin(i) ORDER BY i)::halfvec, array_agg(cos(i) ORDER BY i)::halfvec) FROM generate_series(1, 100) i;
-- close: 2e-5
SELECT l1_distance(array_agg(sin(i) ORDER BY i)::halfvec, array_agg(cos(i) ORDER BY i)::halfvec) FROM generate_series(1, 1537) i;

-- Dimensions, norm, normalisation.
SELECT vector_dims('[1]'::halfvec);
SELECT vector_dims('[1,2,3]'::halfvec);
SELECT vector_dims(NULL::halfvec);
SELECT l2_norm('[3,4]'::halfvec);
SELECT l2_norm('[0]'::halfvec);
SELECT l2_norm('[0,1]'::halfvec);
SELECT l2_norm('[-5]'::halfvec);
SELECT l2_norm('[65504,65504]'::halfvec);
SELECT l2_norm('[6e-8,6e-8]'::halfvec);
SELECT l2_norm('[1,1]'::halfvec);
SELECT l2_norm('[2,2,2,2]'::halfvec);
SELECT l2_norm(NULL::halfvec);
SELECT l2_normalize('[3,4]'::halfvec);
SELECT l2_normalize('[3,0]'::halfvec);
SELECT l2_normalize('[0,0.1]'::halfvec);
SELECT l2_normalize('[0,0]'::halfvec);
SELECT l2_normalize('[-2]'::halfvec);
SELECT l2_normalize('[65504,65504]'::halfvec);
SELECT l2_normalize('[6e-8,6e-8]'::halfvec);
SELECT l2_normalize('[1,1]'::halfvec);
SELECT l2_normalize('[1,2,3,4,5]'::halfvec);
SELECT l2_normalize(NULL::halfvec);

-- binary_quantize.
SELECT binary_quantize('[1]'::halfvec);
SELECT binary_quantize('[0]'::halfvec);
SELECT binary_quantize('[-1]'::halfvec);
SELECT binary_quantize('[-0]'::halfvec);
SELECT binary_quantize('[1,0,-1]'::halfvec);
SELECT binary_quantize('[0,0.1,-0.2,-0.3,0.4,0.5,0.6,-0.7,0.8,-0.9,1]'::halfvec);
SELECT binary_quantize('[1,1,1,1,1,1,1,1]'::halfvec);
SELECT binary_quantize('[1,1,1,1,1,1,1,1,-1]'::halfvec);
SELECT binary_quantize('[6e-8,6e-8]'::halfvec);
SELECT binary_quantize(NULL::halfvec);
SELECT binary_quantize('[1,-1]'::halfvec)::bit(2);
SELECT binary_quantize('[1,-1]'::halfvec)::bit(3);
SELECT length(binary_quantize(array_fill(1, ARRAY[16000])::halfvec));
SELECT pg_typeof(binary_quantize('[1]'::halfvec));

-- subvector.
SELECT subvector('[1,2,3,4,5]'::halfvec, 1, 3);
SELECT subvector('[1,2,3,4,5]'::halfvec, 3, 2);
SELECT subvector('[1,2,3,4,5]'::halfvec, 1, 5);
SELECT subvector('[1,2,3,4,5]'::halfvec, 1, 1);
SELECT subvector('[1,2,3,4,5]'::halfvec, 5, 1);
SELECT subvector('[1,2,3,4,5]'::halfvec, -1, 3);
SELECT subvector('[1,2,3,4,5]'::halfvec, 0, 3);
SELECT subvector('[1,2,3,4,5]'::halfvec, 0, 1);
SELECT subvector('[1,2,3,4,5]'::halfvec, 3, 9);
SELECT subvector('[1,2,3,4,5]'::halfvec, 6, 1);
SELECT subvector('[1,2,3,4,5]'::halfvec, 7, -1);
SELECT subvector('[1,2,3,4,5]'::halfvec, 3, 0);
SELECT subvector('[1,2,3,4,5]'::halfvec, 3, -1);
SELECT subvector('[1,2,3,4,5]'::halfvec, -1, 2);
SELECT subvector('[1,2,3,4,5]'::halfvec, -5, 7);
SELECT subvector('[1,2,3,4,5]'::halfvec, 2147483647, 1);
SELECT subvector('[1,2,3,4,5]'::halfvec, 2147483647, 2147483647);
SELECT subvector('[1,2,3,4,5]'::halfvec, -2147483648, 2147483647);
SELECT subvector('[1,2,3,4,5]'::halfvec, 1, 2147483647);
SELECT subvector('[1,2,3,4,5]'::halfvec, 2, 2147483647);
SELECT subvector('[1,2,3,4,5]'::halfvec, -2147483647, 1);
SELECT subvector('[1,2,3,4,5]'::halfvec, -2147483648, -2147483648);
SELECT subvector(NULL::halfvec, 1, 1);
SELECT subvector('[1]'::halfvec, NULL, 1);
SELECT subvector('[1]'::halfvec, 1, NULL);
SELECT subvector('[1,2,3]'::halfvec, 1, 2)::halfvec(2);
