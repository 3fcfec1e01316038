-- Rows of the golden files: values whose text or bytes are easy to get wrong.
INSERT INTO golden_vector VALUES
    (1, '[1,2,3]'),
    (2, NULL),
    (3, '[0]'),
    (4, '[-0,0]'),
    (5, '[1e-45,-1e-45,1.17549435e-38,1.17549421e-38]'),
    (6, '[3.4028235e38,-3.4028235e38]'),
    (7, '[0.1,0.2,0.3,1e-5,1e-4,123456.7,1234567,12345678]'),
    (8, '[16777216,16777217,1e15,1e16,-1.5e-7]'),
    (9, '[0.333333333,0.666666667,2.718281828,3.141592654]');
INSERT INTO golden_vector SELECT 10, array_agg(sin(i)::real / i ORDER BY i)::vector FROM generate_series(1, 300) i;
