-- vector: functions.

-- l2_distance.
SELECT l2_distance('[0,0]'::vector, '[3,4]');
SELECT l2_distance('[1,2]'::vector, '[1,2]');
SELECT l2_distance('[1,2]'::vector, '[3,4]');
SELECT l2_distance('[1,2]'::vector, '[-1,-2]');
SELECT l2_distance('[1,0]'::vector, '[0,1]');
SELECT l2_distance('[1,1]'::vector, '[2,2]');
SELECT l2_distance('[1,2,3,4,5,6,7,8,9]'::vector, '[9,8,7,6,5,4,3,2,1]');
SELECT l2_distance('[0.5,0.25]'::vector, '[-0.5,4]');
SELECT l2_distance('[0,0]'::vector, '[0,0]');
SELECT l2_distance('[1,2]'::vector, '[0,0]');
SELECT l2_distance('[-0]'::vector, '[0]');
SELECT l2_distance('[1]'::vector, '[2]');
SELECT l2_distance('[1,2]'::vector, '[3]');
SELECT l2_distance('[1]'::vector, '[2,3]');
SELECT l2_distance('[3e38,3e38]'::vector, '[3e38,3e38]');
SELECT l2_distance('[3e38,3e38]'::vector, '[-3e38,-3e38]');
SELECT l2_distance('[1e-40,1e-40]'::vector, '[1e-40,1e-40]');
SELECT l2_distance(NULL::vector, '[1]');
SELECT l2_distance('[1]'::vector, NULL);

-- inner_product.
SELECT inner_product('[0,0]'::vector, '[3,4]');
SELECT inner_product('[1,2]'::vector, '[1,2]');
SELECT inner_product('[1,2]'::vector, '[3,4]');
SELECT inner_product('[1,2]'::vector, '[-1,-2]');
SELECT inner_product('[1,0]'::vector, '[0,1]');
SELECT inner_product('[1,1]'::vector, '[2,2]');
SELECT inner_product('[1,2,3,4,5,6,7,8,9]'::vector, '[9,8,7,6,5,4,3,2,1]');
SELECT inner_product('[0.5,0.25]'::vector, '[-0.5,4]');
SELECT inner_product('[0,0]'::vector, '[0,0]');
SELECT inner_product('[1,2]'::vector, '[0,0]');
SELECT inner_product('[-0]'::vector, '[0]');
SELECT inner_product('[1]'::vector, '[2]');
SELECT inner_product('[1,2]'::vector, '[3]');
SELECT inner_product('[1]'::vector, '[2,3]');
SELECT inner_product('[3e38,3e38]'::vector, '[3e38,3e38]');
SELECT inner_product('[3e38,3e38]'::vector, '[-3e38,-3e38]');
SELECT inner_product('[1e-40,1e-40]'::vector, '[1e-40,1e-40]');
SELECT inner_product(NULL::vector, '[1]');
SELECT inner_product('[1]'::vector, NULL);

-- cosine_distance.
SELECT cosine_distance('[0,0]'::vector, '[3,4]');
SELECT cosine_distance('[1,2]'::vector, '[1,2]');
SELECT cosine_distance('[1,2]'::vector, '[3,4]');
SELECT cosine_distance('[1,2]'::vector, '[-1,-2]');
SELECT cosine_distance('[1,0]'::vector, '[0,1]');
SELECT cosine_distance('[1,1]'::vector, '[2,2]');
SELECT cosine_distance('[1,2,3,4,5,6,7,8,9]'::vector, '[9,8,7,6,5,4,3,2,1]');
SELECT cosine_distance('[0.5,0.25]'::vector, '[-0.5,4]');
SELECT cosine_distance('[0,0]'::vector, '[0,0]');
SELECT cosine_distance('[1,2]'::vector, '[0,0]');
SELECT cosine_distance('[-0]'::vector, '[0]');
SELECT cosine_distance('[1]'::vector, '[2]');
SELECT cosine_distance('[1,2]'::vector, '[3]');
SELECT cosine_distance('[1]'::vector, '[2,3]');
SELECT cosine_distance('[3e38,3e38]'::vector, '[3e38,3e38]');
SELECT cosine_distance('[3e38,3e38]'::vector, '[-3e38,-3e38]');
SELECT cosine_distance('[1e-40,1e-40]'::vector, '[1e-40,1e-40]');
SELECT cosine_distance(NULL::vector, '[1]');
SELECT cosine_distance('[1]'::vector, NULL);

-- l1_distance.
SELECT l1_distance('[0,0]'::vector, '[3,4]');
SELECT l1_distance('[1,2]'::vector, '[1,2]');
SELECT l1_distance('[1,2]'::vector, '[3,4]');
SELECT l1_distance('[1,2]'::vector, '[-1,-2]');
SELECT l1_distance('[1,0]'::vector, '[0,1]');
SELECT l1_distance('[1,1]'::vector, '[2,2]');
SELECT l1_distance('[1,2,3,4,5,6,7,8,9]'::vector, '[9,8,7,6,5,4,3,2,1]');
SELECT l1_distance('[0.5,0.25]'::vector, '[-0.5,4]');
SELECT l1_distance('[0,0]'::vector, '[0,0]');
SELECT l1_distance('[1,2]'::vector, '[0,0]');
SELECT l1_distance('[-0]'::vector, '[0]');
SELECT l1_distance('[1]'::vector, '[2]');
SELECT l1_distance('[1,2]'::vector, '[3]');
SELECT l1_distance('[1]'::vector, '[2,3]');
SELECT l1_distance('[3e38,3e38]'::vector, '[3e38,3e38]');
SELECT l1_distance('[3e38,3e38]'::vector, '[-3e38,-3e38]');
SELECT l1_distance('[1e-40,1e-40]'::vector, '[1e-40,1e-40]');
SELECT l1_distance(NULL::vector, '[1]');
SELECT l1_distance('[1]'::vector, NULL);

-- vector_l2_squared_distance.
SELECT vector_l2_squared_distance('[0,0]'::vector, '[3,4]');
SELECT vector_l2_squared_distance('[1,2]'::vector, '[1,2]');
SELECT vector_l2_squared_distance('[1,2]'::vector, '[3,4]');
SELECT vector_l2_squared_distance('[1,2]'::vector, '[-1,-2]');
SELECT vector_l2_squared_distance('[1,0]'::vector, '[0,1]');
SELECT vector_l2_squared_distance('[1,1]'::vector, '[2,2]');
SELECT vector_l2_squared_distance('[1,2,3,4,5,6,7,8,9]'::vector, '[9,8,7,6,5,4,3,2,1]');
SELECT vector_l2_squared_distance('[0.5,0.25]'::vector, '[-0.5,4]');
SELECT vector_l2_squared_distance('[0,0]'::vector, '[0,0]');
SELECT vector_l2_squared_distance('[1,2]'::vector, '[0,0]');
SELECT vector_l2_squared_distance('[-0]'::vector, '[0]');
SELECT vector_l2_squared_distance('[1]'::vector, '[2]');
SELECT vector_l2_squared_distance('[1,2]'::vector, '[3]');
SELECT vector_l2_squared_distance('[1]'::vector, '[2,3]');
SELECT vector_l2_squared_distance('[3e38,3e38]'::vector, '[3e38,3e38]');
SELECT vector_l2_squared_distance('[3e38,3e38]'::vector, '[-3e38,-3e38]');
SELECT vector_l2_squared_distance('[1e-40,1e-40]'::vector, '[1e-40,1e-40]');
SELECT vector_l2_squared_distance(NULL::vector, '[1]');
SELECT vector_l2_squared_distance('[1]'::vector, NULL);

-- vector_negative_inner_product.
SELECT vector_negative_inner_product('[0,0]'::vector, '[3,4]');
SELECT vector_negative_inner_product('[1,2]'::vector, '[1,2]');
SELECT vector_negative_inner_product('[1,2]'::vector, '[3,4]');
SELECT vector_negative_inner_product('[1,2]'::vector, '[-1,-2]');
SELECT vector_negative_inner_product('[1,0]'::vector, '[0,1]');
SELECT vector_negative_inner_product('[1,1]'::vector, '[2,2]');
SELECT vector_negative_inner_product('[1,2,3,4,5,6,7,8,9]'::vector, '[9,8,7,6,5,4,3,2,1]');
SELECT vector_negative_inner_product('[0.5,0.25]'::vector, '[-0.5,4]');
SELECT vector_negative_inner_product('[0,0]'::vector, '[0,0]');
SELECT vector_negative_inner_product('[1,2]'::vector, '[0,0]');
SELECT vector_negative_inner_product('[-0]'::vector, '[0]');
SELECT vector_negative_inner_product('[1]'::vector, '[2]');
SELECT vector_negative_inner_product('[1,2]'::vector, '[3]');
SELECT vector_negative_inner_product('[1]'::vector, '[2,3]');
SELECT vector_negative_inner_product('[3e38,3e38]'::vector, '[3e38,3e38]');
SELECT vector_negative_inner_product('[3e38,3e38]'::vector, '[-3e38,-3e38]');
SELECT vector_negative_inner_product('[1e-40,1e-40]'::vector, '[1e-40,1e-40]');
SELECT vector_negative_inner_product(NULL::vector, '[1]');
SELECT vector_negative_inner_product('[1]'::vector, NULL);

-- vector_spherical_distance.
SELECT vector_spherical_distance('[0,0]'::vector, '[3,4]');
SELECT vector_spherical_distance('[1,2]'::vector, '[1,2]');
SELECT vector_spherical_distance('[1,2]'::vector, '[3,4]');
SELECT vector_spherical_distance('[1,2]'::vector, '[-1,-2]');
SELECT vector_spherical_distance('[1,0]'::vector, '[0,1]');
SELECT vector_spherical_distance('[1,1]'::vector, '[2,2]');
SELECT vector_spherical_distance('[1,2,3,4,5,6,7,8,9]'::vector, '[9,8,7,6,5,4,3,2,1]');
SELECT vector_spherical_distance('[0.5,0.25]'::vector, '[-0.5,4]');
SELECT vector_spherical_distance('[0,0]'::vector, '[0,0]');
SELECT vector_spherical_distance('[1,2]'::vector, '[0,0]');
SELECT vector_spherical_distance('[-0]'::vector, '[0]');
SELECT vector_spherical_distance('[1]'::vector, '[2]');
SELECT vector_spherical_distance('[1,2]'::vector, '[3]');
SELECT vector_spherical_distance('[1]'::vector, '[2,3]');
SELECT vector_spherical_distance('[3e38,3e38]'::vector, '[3e38,3e38]');
SELECT vector_spherical_distance('[3e38,3e38]'::vector, '[-3e38,-3e38]');
SELECT vector_spherical_distance('[1e-40,1e-40]'::vector, '[1e-40,1e-40]');
SELECT vector_spherical_distance(NULL::vector, '[1]');
SELECT vector_spherical_distance('[1]'::vector, NULL);

-- Longer vectors, whose sums depend on their order.
-- close: 2e-5
SELECT l2_distance(array_agg(sin(i) ORDER BY i)::vector, array_agg(cos(i) ORDER BY i)::vector) FROM generate_series(1, 13) i;
-- close: 2e-5
SELECT l2_distance(array_agg(sin(i) ORDER BY i)::vector, array_agg(cos(i) ORDER BY i)::vector) FROM generate_series(1, 100) i;
-- close: 2e-5
SELECT l2_distance(array_agg(sin(i) ORDER BY i)::vector, array_agg(cos(i) ORDER BY i)::vector) FROM generate_series(1, 1537) i;
-- close: 2e-5
SELECT inner_product(array_agg(sin(i) ORDER BY i)::vector, array_agg(cos(i) ORDER BY i)::vector) FROM generate_series(1, 13) i;
-- close: 2e-5
SELECT inner_product(array_agg(sin(i) ORDER BY i)::vector, array_agg(cos(i) ORDER BY i)::vector) FROM generate_series(1, 100) i;
-- close: 2e-5
SELECT inner_product(array_agg(sin(i) ORDER BY i)::vector, array_agg(cos(i) ORDER BY i)::vector) FROM generate_series(1, 1537) i;
-- close: 2e-5
SELECT cosine_distance(array_agg(sin(i) ORDER BY i)::vector, array_agg(cos(i) ORDER BY i)::vector) FROM generate_series(1, 13) i;
-- close: 2e-5
SELECT cosine_distance(array_agg(sin(i) ORDER BY i)::vector, array_agg(cos(i) ORDER BY i)::vector) FROM generate_series(1, 100) i;
-- close: 2e-5
SELECT cosine_distance(array_agg(sin(i) ORDER BY i)::vector, array_agg(cos(i) ORDER BY i)::vector) FROM generate_series(1, 1537) i;
-- close: 2e-5
SELECT l1_distance(array_agg(sin(i) ORDER BY i)::vector, array_agg(cos(i) ORDER BY i)::vector) FROM generate_series(1, 13) i;
-- close: 2e-5
SELECT l1_distance(array_agg(sin(i) ORDER BY i)::vector, array_agg(cos(i) ORDER BY i)::vector) FROM generate_series(1, 100) i;
-- close: 2e-5
SELECT l1_distance(array_agg(sin(i) ORDER BY i)::vector, array_agg(cos(i) ORDER BY i)::vector) FROM generate_series(1, 1537) i;

-- Dimensions, norm, normalisation.
SELECT vector_dims('[1]'::vector);
SELECT vector_dims('[1,2,3]'::vector);
SELECT vector_dims(NULL::vector);
SELECT vector_norm('[3,4]'::vector);
SELECT vector_norm('[0]'::vector);
SELECT vector_norm('[0,1]'::vector);
SELECT vector_norm('[-5]'::vector);
SELECT vector_norm('[3e38,3e38]'::vector);
SELECT vector_norm('[1e-40,1e-40]'::vector);
SELECT vector_norm('[1,1]'::vector);
SELECT vector_norm('[2,2,2,2]'::vector);
SELECT vector_norm(NULL::vector);
SELECT l2_normalize('[3,4]'::vector);
SELECT l2_normalize('[3,0]'::vector);
SELECT l2_normalize('[0,0.1]'::vector);
SELECT l2_normalize('[0,0]'::vector);
SELECT l2_normalize('[-2]'::vector);
SELECT l2_normalize('[3e38,3e38]'::vector);
SELECT l2_normalize('[1e-40,1e-40]'::vector);
SELECT l2_normalize('[1,1]'::vector);
SELECT l2_normalize('[1,2,3,4,5]'::vector);
SELECT l2_normalize(NULL::vector);
SELECT l2_norm('[3,4]'::real[]);

-- binary_quantize.
SELECT binary_quantize('[1]'::vector);
SELECT binary_quantize('[0]'::vector);
SELECT binary_quantize('[-1]'::vector);
SELECT binary_quantize('[-0]'::vector);
SELECT binary_quantize('[1,0,-1]'::vector);
SELECT binary_quantize('[0,0.1,-0.2,-0.3,0.4,0.5,0.6,-0.7,0.8,-0.9,1]'::vector);
SELECT binary_quantize('[1,1,1,1,1,1,1,1]'::vector);
SELECT binary_quantize('[1,1,1,1,1,1,1,1,-1]'::vector);
SELECT binary_quantize('[1e-40,1e-40]'::vector);
SELECT binary_quantize(NULL::vector);
SELECT binary_quantize('[1,-1]'::vector)::bit(2);
SELECT binary_quantize('[1,-1]'::vector)::bit(3);
SELECT length(binary_quantize(array_fill(1, ARRAY[16000])::vector));
SELECT pg_typeof(binary_quantize('[1]'::vector));

-- subvector.
SELECT subvector('[1,2,3,4,5]'::vector, 1, 3);
SELECT subvector('[1,2,3,4,5]'::vector, 3, 2);
SELECT subvector('[1,2,3,4,5]'::vector, 1, 5);
SELECT subvector('[1,2,3,4,5]'::vector, 1, 1);
SELECT subvector('[1,2,3,4,5]'::vector, 5, 1);
SELECT subvector('[1,2,3,4,5]'::vector, -1, 3);
SELECT subvector('[1,2,3,4,5]'::vector, 0, 3);
SELECT subvector('[1,2,3,4,5]'::vector, 0, 1);
SELECT subvector('[1,2,3,4,5]'::vector, 3, 9);
SELECT subvector('[1,2,3,4,5]'::vector, 6, 1);
SELECT subvector('[1,2,3,4,5]'::vector, 7, -1);
SELECT subvector('[1,2,3,4,5]'::vector, 3, 0);
SELECT subvector('[1,2,3,4,5]'::vector, 3, -1);
SELECT subvector('[1,2,3,4,5]'::vector, -1, 2);
SELECT subvector('[1,2,3,4,5]'::vector, -5, 7);
SELECT subvector('[1,2,3,4,5]'::vector, 2147483647, 1);
SELECT subvector('[1,2,3,4,5]'::vector, 2147483647, 2147483647);
SELECT subvector('[1,2,3,4,5]'::vector, -2147483648, 2147483647);
SELECT subvector('[1,2,3,4,5]'::vector, 1, 2147483647);
SELECT subvector('[1,2,3,4,5]'::vector, 2, 2147483647);
SELECT subvector('[1,2,3,4,5]'::vector, -2147483647, 1);
SELECT subvector('[1,2,3,4,5]'::vector, -2147483648, -2147483648);
SELECT subvector(NULL::vector, 1, 1);
SELECT subvector('[1]'::vector, NULL, 1);
SELECT subvector('[1]'::vector, 1, NULL);
SELECT subvector('[1,2,3]'::vector, 1, 2)::vector(2);
