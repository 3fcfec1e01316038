-- Rows of the golden files: values whose text or bytes are easy to get wrong.
INSERT INTO golden_halfvec VALUES
    (1, '[1,2,3]'),
    (2, NULL),
    (3, '[0]'),
    (4, '[-0,0]'),
    (5, '[6e-8,-6e-8,6.1035e-5,6.0976e-5]'),
    (6, '[65504,-65504]'),
    (7, '[0.1,0.2,0.3,1e-5,1e-4,1234.5,12345,54321]'),
    (8, '[2048,2049,2050,2051,1.0005,1.0004883]'),
    (9, '[0.333333333,0.666666667,2.718281828,3.141592654]');
INSERT INTO golden_halfvec SELECT 10, array_agg(sin(i)::real / i ORDER BY i)::halfvec FROM generate_series(1, 300) i;
