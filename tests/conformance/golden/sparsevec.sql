-- Rows of the golden files: values whose text or bytes are easy to get wrong.
INSERT INTO golden_sparsevec VALUES
    (1, '{1:1,3:2}/5'),
    (2, NULL),
    (3, '{}/1'),
    (4, '{3:1,1:2,2:0}/3'),
    (5, '{1:1e-45,2:-1e-45,4:1.17549435e-38}/4'),
    (6, '{1:3.4028235e38,1000000000:-3.4028235e38}/1000000000'),
    (7, '{1:0.1,2:0.2,3:1e-5,4:1e-4,5:1234567}/7'),
    (8, '{1:-0,2:1.5}/2'),
    (9, '[0,0.333333333,0,2.718281828]'::vector);
INSERT INTO golden_sparsevec
    SELECT 10, (array_agg(CASE i % 7 WHEN 0 THEN sin(i)::real ELSE 0 END ORDER BY i)::vector)::sparsevec
    FROM generate_series(1, 300) i;
