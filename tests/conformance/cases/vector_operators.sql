-- vector: operators.

-- Operator <->.
SELECT '[1,2,3]'::vector <-> '[4,5,6]';
SELECT '[1,2]'::vector <-> '[1,2]';
SELECT '[1,2]'::vector <-> '[2,1]';
SELECT '[2,1]'::vector <-> '[1,2]';
SELECT '[1,2]'::vector <-> '[1,2,3]';
SELECT '[1,2,3]'::vector <-> '[1,2]';
SELECT '[2]'::vector <-> '[1,2]';
SELECT '[0,0]'::vector <-> '[0,0]';
SELECT '[-0]'::vector <-> '[0]';
SELECT '[-1]'::vector <-> '[1]';
SELECT NULL::vector <-> '[1]';
SELECT '[1]'::vector <-> NULL;

-- Operator <#>.
SELECT '[1,2,3]'::vector <#> '[4,5,6]';
SELECT '[1,2]'::vector <#> '[1,2]';
SELECT '[1,2]'::vector <#> '[2,1]';
SELECT '[2,1]'::vector <#> '[1,2]';
SELECT '[1,2]'::vector <#> '[1,2,3]';
SELECT '[1,2,3]'::vector <#> '[1,2]';
SELECT '[2]'::vector <#> '[1,2]';
SELECT '[0,0]'::vector <#> '[0,0]';
SELECT '[-0]'::vector <#> '[0]';
SELECT '[-1]'::vector <#> '[1]';
SELECT NULL::vector <#> '[1]';
SELECT '[1]'::vector <#> NULL;

-- Operator <=>.
SELECT '[1,2,3]'::vector <=> '[4,5,6]';
SELECT '[1,2]'::vector <=> '[1,2]';
SELECT '[1,2]'::vector <=> '[2,1]';
SELECT '[2,1]'::vector <=> '[1,2]';
SELECT '[1,2]'::vector <=> '[1,2,3]';
SELECT '[1,2,3]'::vector <=> '[1,2]';
SELECT '[2]'::vector <=> '[1,2]';
SELECT '[0,0]'::vector <=> '[0,0]';
SELECT '[-0]'::vector <=> '[0]';
SELECT '[-1]'::vector <=> '[1]';
SELECT NULL::vector <=> '[1]';
SELECT '[1]'::vector <=> NULL;

-- Operator <+>.
SELECT '[1,2,3]'::vector <+> '[4,5,6]';
SELECT '[1,2]'::vector <+> '[1,2]';
SELECT '[1,2]'::vector <+> '[2,1]';
SELECT '[2,1]'::vector <+> '[1,2]';
SELECT '[1,2]'::vector <+> '[1,2,3]';
SELECT '[1,2,3]'::vector <+> '[1,2]';
SELECT '[2]'::vector <+> '[1,2]';
SELECT '[0,0]'::vector <+> '[0,0]';
SELECT '[-0]'::vector <+> '[0]';
SELECT '[-1]'::vector <+> '[1]';
SELECT NULL::vector <+> '[1]';
SELECT '[1]'::vector <+> NULL;

-- Operator +.
SELECT '[1,2,3]'::vector + '[4,5,6]';
SELECT '[1,2]'::vector + '[1,2]';
SELECT '[1,2]'::vector + '[2,1]';
SELECT '[2,1]'::vector + '[1,2]';
SELECT '[1,2]'::vector + '[1,2,3]';
SELECT '[1,2,3]'::vector + '[1,2]';
SELECT '[2]'::vector + '[1,2]';
SELECT '[0,0]'::vector + '[0,0]';
SELECT '[-0]'::vector + '[0]';
SELECT '[-1]'::vector + '[1]';
SELECT NULL::vector + '[1]';
SELECT '[1]'::vector + NULL;

-- Operator -.
SELECT '[1,2,3]'::vector - '[4,5,6]';
SELECT '[1,2]'::vector - '[1,2]';
SELECT '[1,2]'::vector - '[2,1]';
SELECT '[2,1]'::vector - '[1,2]';
SELECT '[1,2]'::vector - '[1,2,3]';
SELECT '[1,2,3]'::vector - '[1,2]';
SELECT '[2]'::vector - '[1,2]';
SELECT '[0,0]'::vector - '[0,0]';
SELECT '[-0]'::vector - '[0]';
SELECT '[-1]'::vector - '[1]';
SELECT NULL::vector - '[1]';
SELECT '[1]'::vector - NULL;

-- Operator *.
SELECT '[1,2,3]'::vector * '[4,5,6]';
SELECT '[1,2]'::vector * '[1,2]';
SELECT '[1,2]'::vector * '[2,1]';
SELECT '[2,1]'::vector * '[1,2]';
SELECT '[1,2]'::vector * '[1,2,3]';
SELECT '[1,2,3]'::vector * '[1,2]';
SELECT '[2]'::vector * '[1,2]';
SELECT '[0,0]'::vector * '[0,0]';
SELECT '[-0]'::vector * '[0]';
SELECT '[-1]'::vector * '[1]';
SELECT NULL::vector * '[1]';
SELECT '[1]'::vector * NULL;

-- Operator ||.
SELECT '[1,2,3]'::vector || '[4,5,6]';
SELECT '[1,2]'::vector || '[1,2]';
SELECT '[1,2]'::vector || '[2,1]';
SELECT '[2,1]'::vector || '[1,2]';
SELECT '[1,2]'::vector || '[1,2,3]';
SELECT '[1,2,3]'::vector || '[1,2]';
SELECT '[2]'::vector || '[1,2]';
SELECT '[0,0]'::vector || '[0,0]';
SELECT '[-0]'::vector || '[0]';
SELECT '[-1]'::vector || '[1]';
SELECT NULL::vector || '[1]';
SELECT '[1]'::vector || NULL;

-- Operator <.
SELECT '[1,2,3]'::vector < '[4,5,6]';
SELECT '[1,2]'::vector < '[1,2]';
SELECT '[1,2]'::vector < '[2,1]';
SELECT '[2,1]'::vector < '[1,2]';
SELECT '[1,2]'::vector < '[1,2,3]';
SELECT '[1,2,3]'::vector < '[1,2]';
SELECT '[2]'::vector < '[1,2]';
SELECT '[0,0]'::vector < '[0,0]';
SELECT '[-0]'::vector < '[0]';
SELECT '[-1]'::vector < '[1]';
SELECT NULL::vector < '[1]';
SELECT '[1]'::vector < NULL;

-- Operator <=.
SELECT '[1,2,3]'::vector <= '[4,5,6]';
SELECT '[1,2]'::vector <= '[1,2]';
SELECT '[1,2]'::vector <= '[2,1]';
SELECT '[2,1]'::vector <= '[1,2]';
SELECT '[1,2]'::vector <= '[1,2,3]';
SELECT '[1,2,3]'::vector <= '[1,2]';
SELECT '[2]'::vector <= '[1,2]';
SELECT '[0,0]'::vector <= '[0,0]';
SELECT '[-0]'::vector <= '[0]';
SELECT '[-1]'::vector <= '[1]';
SELECT NULL::vector <= '[1]';
SELECT '[1]'::vector <= NULL;

-- Operator =.
SELECT '[1,2,3]'::vector = '[4,5,6]';
SELECT '[1,2]'::vector = '[1,2]';
SELECT '[1,2]'::vector = '[2,1]';
SELECT '[2,1]'::vector = '[1,2]';
SELECT '[1,2]'::vector = '[1,2,3]';
SELECT '[1,2,3]'::vector = '[1,2]';
SELECT '[2]'::vector = '[1,2]';
SELECT '[0,0]'::vector = '[0,0]';
SELECT '[-0]'::vector = '[0]';
SELECT '[-1]'::vector = '[1]';
SELECT NULL::vector = '[1]';
SELECT '[1]'::vector = NULL;

-- Operator <>.
SELECT '[1,2,3]'::vector <> '[4,5,6]';
SELECT '[1,2]'::vector <> '[1,2]';
SELECT '[1,2]'::vector <> '[2,1]';
SELECT '[2,1]'::vector <> '[1,2]';
SELECT '[1,2]'::vector <> '[1,2,3]';
SELECT '[1,2,3]'::vector <> '[1,2]';
SELECT '[2]'::vector <> '[1,2]';
SELECT '[0,0]'::vector <> '[0,0]';
SELECT '[-0]'::vector <> '[0]';
SELECT '[-1]'::vector <> '[1]';
SELECT NULL::vector <> '[1]';
SELECT '[1]'::vector <> NULL;

-- Operator >=.
SELECT '[1,2,3]'::vector >= '[4,5,6]';
SELECT '[1,2]'::vector >= '[1,2]';
SELECT '[1,2]'::vector >= '[2,1]';
SELECT '[2,1]'::vector >= '[1,2]';
SELECT '[1,2]'::vector >= '[1,2,3]';
SELECT '[1,2,3]'::vector >= '[1,2]';
SELECT '[2]'::vector >= '[1,2]';
SELECT '[0,0]'::vector >= '[0,0]';
SELECT '[-0]'::vector >= '[0]';
SELECT '[-1]'::vector >= '[1]';
SELECT NULL::vector >= '[1]';
SELECT '[1]'::vector >= NULL;

-- Operator >.
SELECT '[1,2,3]'::vector > '[4,5,6]';
SELECT '[1,2]'::vector > '[1,2]';
SELECT '[1,2]'::vector > '[2,1]';
SELECT '[2,1]'::vector > '[1,2]';
SELECT '[1,2]'::vector > '[1,2,3]';
SELECT '[1,2,3]'::vector > '[1,2]';
SELECT '[2]'::vector > '[1,2]';
SELECT '[0,0]'::vector > '[0,0]';
SELECT '[-0]'::vector > '[0]';
SELECT '[-1]'::vector > '[1]';
SELECT NULL::vector > '[1]';
SELECT '[1]'::vector > NULL;

-- The functions behind arithmetic, by name.
SELECT vector_add('[1,2]', '[3,5]');
SELECT vector_add('[1,2]', '[3]');
SELECT vector_add(NULL, '[1]');
SELECT vector_add('[1]', NULL);
SELECT vector_sub('[1,2]', '[3,5]');
SELECT vector_sub('[1,2]', '[3]');
SELECT vector_sub(NULL, '[1]');
SELECT vector_sub('[1]', NULL);
SELECT vector_mul('[1,2]', '[3,5]');
SELECT vector_mul('[1,2]', '[3]');
SELECT vector_mul(NULL, '[1]');
SELECT vector_mul('[1]', NULL);
SELECT vector_concat('[1,2]', '[3,5]');
SELECT vector_concat('[1,2]', '[3]');
SELECT vector_concat(NULL, '[1]');
SELECT vector_concat('[1]', NULL);

-- Overflow and underflow of arithmetic.
SELECT '[3e38]'::vector + '[3e38]';
SELECT '[-3e38]'::vector - '[3e38]';
SELECT '[3e38]'::vector - '[3e38]';
SELECT '[1e37]'::vector * '[1e37]';
SELECT '[1e-37]'::vector * '[1e-37]';
SELECT '[1e-37]'::vector * '[0]';
SELECT '[1e-45]'::vector * '[0.5]';
SELECT '[1e-45]'::vector * '[0.1]';
SELECT '[1e-38]'::vector - '[1.1e-38]';
SELECT '[1,3e38]'::vector + '[1,1e38]';

-- Limits of concatenation.
SELECT vector_dims(array_fill(0, ARRAY[8000])::vector || array_fill(0, ARRAY[8000])::vector);
SELECT array_fill(0, ARRAY[16000])::vector || '[1]';
SELECT array_fill(0, ARRAY[16000])::vector || array_fill(0, ARRAY[16000])::vector;

-- Operators that do not exist.
SELECT '[1]'::vector / '[1]';
SELECT - '[1]'::vector;
SELECT '[1]'::vector * 2;
SELECT '[1]'::vector <~> '[1]';
SELECT '[1]'::vector && '[1]';
SELECT '[1]'::vector ~= '[1]';
SELECT '[1]'::vector IS DISTINCT FROM '[1]';
SELECT '[1]'::vector IN ('[1]', '[2]');
SELECT '[1]'::vector BETWEEN '[0]' AND '[2]';
SELECT greatest('[1]'::vector, '[2]', NULL);
SELECT nullif('[1]'::vector, '[1]');
SELECT ('[1]'::vector, 1) < ('[1]'::vector, 2);
SELECT ARRAY['[1]'::vector, '[2]'] = ARRAY['[1]'::vector, '[2]'];
