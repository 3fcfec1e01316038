-- halfvec: operators.

-- Operator <->.
SELECT '[1,2,3]'::halfvec <-> '[4,5,6]';
SELECT '[1,2]'::halfvec <-> '[1,2]';
SELECT '[1,2]'::halfvec <-> '[2,1]';
SELECT '[2,1]'::halfvec <-> '[1,2]';
SELECT '[1,2]'::halfvec <-> '[1,2,3]';
SELECT '[1,2,3]'::halfvec <-> '[1,2]';
SELECT '[2]'::halfvec <-> '[1,2]';
SELECT '[0,0]'::halfvec <-> '[0,0]';
SELECT '[-0]'::halfvec <-> '[0]';
SELECT '[-1]'::halfvec <-> '[1]';
SELECT NULL::halfvec <-> '[1]';
SELECT '[1]'::halfvec <-> NULL;

-- Operator <#>.
SELECT '[1,2,3]'::halfvec <#> '[4,5,6]';
SELECT '[1,2]'::halfvec <#> '[1,2]';
SELECT '[1,2]'::halfvec <#> '[2,1]';
SELECT '[2,1]'::halfvec <#> '[1,2]';
SELECT '[1,2]'::halfvec <#> '[1,2,3]';
SELECT '[1,2,3]'::halfvec <#> '[1,2]';
SELECT '[2]'::halfvec <#> '[1,2]';
SELECT '[0,0]'::halfvec <#> '[0,0]';
SELECT '[-0]'::halfvec <#> '[0]';
SELECT '[-1]'::halfvec <#> '[1]';
SELECT NULL::halfvec <#> '[1]';
SELECT '[1]'::halfvec <#> NULL;

-- Operator <=>.
SELECT '[1,2,3]'::halfvec <=> '[4,5,6]';
SELECT '[1,2]'::halfvec <=> '[1,2]';
SELECT '[1,2]'::halfvec <=> '[2,1]';
SELECT '[2,1]'::halfvec <=> '[1,2]';
SELECT '[1,2]'::halfvec <=> '[1,2,3]';
SELECT '[1,2,3]'::halfvec <=> '[1,2]';
SELECT '[2]'::halfvec <=> '[1,2]';
SELECT '[0,0]'::halfvec <=> '[0,0]';
SELECT '[-0]'::halfvec <=> '[0]';
SELECT '[-1]'::halfvec <=> '[1]';
SELECT NULL::halfvec <=> '[1]';
SELECT '[1]'::halfvec <=> NULL;

-- Operator <+>.
SELECT '[1,2,3]'::halfvec <+> '[4,5,6]';
SELECT '[1,2]'::halfvec <+> '[1,2]';
SELECT '[1,2]'::halfvec <+> '[2,1]';
SELECT '[2,1]'::halfvec <+> '[1,2]';
SELECT '[1,2]'::halfvec <+> '[1,2,3]';
SELECT '[1,2,3]'::halfvec <+> '[1,2]';
SELECT '[2]'::halfvec <+> '[1,2]';
SELECT '[0,0]'::halfvec <+> '[0,0]';
SELECT '[-0]'::halfvec <+> '[0]';
SELECT '[-1]'::halfvec <+> '[1]';
SELECT NULL::halfvec <+> '[1]';
SELECT '[1]'::halfvec <+> NULL;

-- Operator +.
SELECT '[1,2,3]'::halfvec + '[4,5,6]';
SELECT '[1,2]'::halfvec + '[1,2]';
SELECT '[1,2]'::halfvec + '[2,1]';
SELECT '[2,1]'::halfvec + '[1,2]';
SELECT '[1,2]'::halfvec + '[1,2,3]';
SELECT '[1,2,3]'::halfvec + '[1,2]';
SELECT '[2]'::halfvec + '[1,2]';
SELECT '[0,0]'::halfvec + '[0,0]';
SELECT '[-0]'::halfvec + '[0]';
SELECT '[-1]'::halfvec + '[1]';
SELECT NULL::halfvec + '[1]';
SELECT '[1]'::halfvec + NULL;

-- Operator -.
SELECT '[1,2,3]'::halfvec - '[4,5,6]';
SELECT '[1,2]'::halfvec - '[1,2]';
SELECT '[1,2]'::halfvec - '[2,1]';
SELECT '[2,1]'::halfvec - '[1,2]';
SELECT '[1,2]'::halfvec - '[1,2,3]';
SELECT '[1,2,3]'::halfvec - '[1,2]';
SELECT '[2]'::halfvec - '[1,2]';
SELECT '[0,0]'::halfvec - '[0,0]';
SELECT '[-0]'::halfvec - '[0]';
SELECT '[-1]'::halfvec - '[1]';
SELECT NULL::halfvec - '[1]';
SELECT '[1]'::halfvec - NULL;

-- Operator *.
SELECT '[1,2,3]'::halfvec * '[4,5,6]';
SELECT '[1,2]'::halfvec * '[1,2]';
SELECT '[1,2]'::halfvec * '[2,1]';
SELECT '[2,1]'::halfvec * '[1,2]';
SELECT '[1,2]'::halfvec * '[1,2,3]';
SELECT '[1,2,3]'::halfvec * '[1,2]';
SELECT '[2]'::halfvec * '[1,2]';
SELECT '[0,0]'::halfvec * '[0,0]';
SELECT '[-0]'::halfvec * '[0]';
SELECT '[-1]'::halfvec * '[1]';
SELECT NULL::halfvec * '[1]';
SELECT '[1]'::halfvec * NULL;

-- Operator ||.
SELECT '[1,2,3]'::halfvec || '[4,5,6]';
SELECT '[1,2]'::halfvec || '[1,2]';
SELECT '[1,2]'::halfvec || '[2,1]';
SELECT '[2,1]'::halfvec || '[1,2]';
SELECT '[1,2]'::halfvec || '[1,2,3]';
SELECT '[1,2,3]'::halfvec || '[1,2]';
SELECT '[2]'::halfvec || '[1,2]';
SELECT '[0,0]'::halfvec || '[0,0]';
SELECT '[-0]'::halfvec || '[0]';
SELECT '[-1]'::halfvec || '[1]';
SELECT NULL::halfvec || '[1]';
SELECT '[1]'::halfvec || NULL;

-- Operator <.
SELECT '[1,2,3]'::halfvec < '[4,5,6]';
SELECT '[1,2]'::halfvec < '[1,2]';
SELECT '[1,2]'::halfvec < '[2,1]';
SELECT '[2,1]'::halfvec < '[1,2]';
SELECT '[1,2]'::halfvec < '[1,2,3]';
SELECT '[1,2,3]'::halfvec < '[1,2]';
SELECT '[2]'::halfvec < '[1,2]';
SELECT '[0,0]'::halfvec < '[0,0]';
SELECT '[-0]'::halfvec < '[0]';
SELECT '[-1]'::halfvec < '[1]';
SELECT NULL::halfvec < '[1]';
SELECT '[1]'::halfvec < NULL;

-- Operator <=.
SELECT '[1,2,3]'::halfvec <= '[4,5,6]';
SELECT '[1,2]'::halfvec <= '[1,2]';
SELECT '[1,2]'::halfvec <= '[2,1]';
SELECT '[2,1]'::halfvec <= '[1,2]';
SELECT '[1,2]'::halfvec <= '[1,2,3]';
SELECT '[1,2,3]'::halfvec <= '[1,2]';
SELECT '[2]'::halfvec <= '[1,2]';
SELECT '[0,0]'::halfvec <= '[0,0]';
SELECT '[-0]'::halfvec <= '[0]';
SELECT '[-1]'::halfvec <= '[1]';
SELECT NULL::halfvec <= '[1]';
SELECT '[1]'::halfvec <= NULL;

-- Operator =.
SELECT '[1,2,3]'::halfvec = '[4,5,6]';
SELECT '[1,2]'::halfvec = '[1,2]';
SELECT '[1,2]'::halfvec = '[2,1]';
SELECT '[2,1]'::halfvec = '[1,2]';
SELECT '[1,2]'::halfvec = '[1,2,3]';
SELECT '[1,2,3]'::halfvec = '[1,2]';
SELECT '[2]'::halfvec = '[1,2]';
SELECT '[0,0]'::halfvec = '[0,0]';
SELECT '[-0]'::halfvec = '[0]';
SELECT '[-1]'::halfvec = '[1]';
SELECT NULL::halfvec = '[1]';
SELECT '[1]'::halfvec = NULL;

-- Operator <>.
SELECT '[1,2,3]'::halfvec <> '[4,5,6]';
SELECT '[1,2]'::halfvec <> '[1,2]';
SELECT '[1,2]'::halfvec <> '[2,1]';
SELECT '[2,1]'::halfvec <> '[1,2]';
SELECT '[1,2]'::halfvec <> '[1,2,3]';
SELECT '[1,2,3]'::halfvec <> '[1,2]';
SELECT '[2]'::halfvec <> '[1,2]';
SELECT '[0,0]'::halfvec <> '[0,0]';
SELECT '[-0]'::halfvec <> '[0]';
SELECT '[-1]'::halfvec <> '[1]';
SELECT NULL::halfvec <> '[1]';
SELECT '[1]'::halfvec <> NULL;

-- Operator >=.
SELECT '[1,2,3]'::halfvec >= '[4,5,6]';
SELECT '[1,2]'::halfvec >= '[1,2]';
SELECT '[1,2]'::halfvec >= '[2,1]';
SELECT '[2,1]'::halfvec >= '[1,2]';
SELECT '[1,2]'::halfvec >= '[1,2,3]';
SELECT '[1,2,3]'::halfvec >= '[1,2]';
SELECT '[2]'::halfvec >= '[1,2]';
SELECT '[0,0]'::halfvec >= '[0,0]';
SELECT '[-0]'::halfvec >= '[0]';
SELECT '[-1]'::halfvec >= '[1]';
SELECT NULL::halfvec >= '[1]';
SELECT '[1]'::halfvec >= NULL;

-- Operator >.
SELECT '[1,2,3]'::halfvec > '[4,5,6]';
SELECT '[1,2]'::halfvec > '[1,2]';
SELECT '[1,2]'::halfvec > '[2,1]';
SELECT '[2,1]'::halfvec > '[1,2]';
SELECT '[1,2]'::halfvec > '[1,2,3]';
SELECT '[1,2,3]'::halfvec > '[1,2]';
SELECT '[2]'::halfvec > '[1,2]';
SELECT '[0,0]'::halfvec > '[0,0]';
SELECT '[-0]'::halfvec > '[0]';
SELECT '[-1]'::halfvec > '[1]';
SELECT NULL::halfvec > '[1]';
SELECT '[1]'::halfvec > NULL;

-- The functions behind arithmetic, by name.
SELECT halfvec_add('[1,2]', '[3,5]');
SELECT halfvec_add('[1,2]', '[3]');
SELECT halfvec_add(NULL, '[1]');
SELECT halfvec_add('[1]', NULL);
SELECT halfvec_sub('[1,2]', '[3,5]');
SELECT halfvec_sub('[1,2]', '[3]');
SELECT halfvec_sub(NULL, '[1]');
SELECT halfvec_sub('[1]', NULL);
SELECT halfvec_mul('[1,2]', '[3,5]');
SELECT halfvec_mul('[1,2]', '[3]');
SELECT halfvec_mul(NULL, '[1]');
SELECT halfvec_mul('[1]', NULL);
SELECT halfvec_concat('[1,2]', '[3,5]');
SELECT halfvec_concat('[1,2]', '[3]');
SELECT halfvec_concat(NULL, '[1]');
SELECT halfvec_concat('[1]', NULL);

-- Overflow and underflow of arithmetic.
SELECT '[65504]'::halfvec + '[65504]';
SELECT '[65504]'::halfvec + '[15]';
SELECT '[65504]'::halfvec + '[16]';
SELECT '[-65504]'::halfvec - '[65504]';
SELECT '[65504]'::halfvec - '[65504]';
SELECT '[300]'::halfvec * '[300]';
SELECT '[256]'::halfvec * '[255.9]';
SELECT '[6e-8]'::halfvec * '[6e-8]';
SELECT '[6e-8]'::halfvec * '[0]';
SELECT '[6e-8]'::halfvec * '[0.5]';
SELECT '[6e-8]'::halfvec * '[0.6]';
SELECT '[2048]'::halfvec + '[1]';
SELECT '[2048]'::halfvec + '[3]';
SELECT '[0.1]'::halfvec + '[0.2]';
SELECT '[0.1]'::halfvec * '[0.1]';

-- Limits of concatenation.
SELECT vector_dims(array_fill(0, ARRAY[8000])::halfvec || array_fill(0, ARRAY[8000])::halfvec);
SELECT array_fill(0, ARRAY[16000])::halfvec || '[1]';
SELECT array_fill(0, ARRAY[16000])::halfvec || array_fill(0, ARRAY[16000])::halfvec;

-- Operators that do not exist.
SELECT '[1]'::halfvec / '[1]';
SELECT - '[1]'::halfvec;
SELECT '[1]'::halfvec * 2;
SELECT '[1]'::halfvec <~> '[1]';
SELECT '[1]'::halfvec && '[1]';
SELECT '[1]'::halfvec ~= '[1]';
SELECT '[1]'::halfvec IS DISTINCT FROM '[1]';
SELECT '[1]'::halfvec IN ('[1]', '[2]');
SELECT '[1]'::halfvec BETWEEN '[0]' AND '[2]';
SELECT greatest('[1]'::halfvec, '[2]', NULL);
SELECT nullif('[1]'::halfvec, '[1]');
SELECT ('[1]'::halfvec, 1) < ('[1]'::halfvec, 2);
SELECT ARRAY['[1]'::halfvec, '[2]'] = ARRAY['[1]'::halfvec, '[2]'];
