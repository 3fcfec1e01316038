-- halfvec: casts from and to arrays and vector.

-- integer[] to halfvec.
SELECT '{1,2,3}'::integer[]::halfvec;
SELECT '{-2147483648,2147483647}'::integer[]::halfvec;
SELECT '{16777217}'::integer[]::halfvec;
SELECT '{}'::integer[]::halfvec;
SELECT '{1,NULL,3}'::integer[]::halfvec;
SELECT '{NULL}'::integer[]::halfvec;
SELECT '{{1,2},{3,4}}'::integer[]::halfvec;
SELECT '{{1},{2}}'::integer[]::halfvec;
SELECT '[5:6]={1,2}'::integer[]::halfvec;
SELECT NULL::integer[]::halfvec;
SELECT '{1,2,3}'::integer[]::halfvec(3);
SELECT '{1,2}'::integer[]::halfvec(3);
SELECT array_to_halfvec('{1,2,3}'::integer[], -1, false);
SELECT array_to_halfvec('{1,2,3}'::integer[], 2, true);
SELECT array_to_halfvec(NULL::integer[], 2, true);

-- real[] to halfvec.
SELECT '{1.5,-2.25,0.1}'::real[]::halfvec;
SELECT '{1e-45,3.4028235e38}'::real[]::halfvec;
SELECT '{65504,65520}'::real[]::halfvec;
SELECT '{NaN}'::real[]::halfvec;
SELECT '{Infinity,1}'::real[]::halfvec;
SELECT '{1,-Infinity}'::real[]::halfvec;
SELECT '{}'::real[]::halfvec;
SELECT '{1,NULL,3}'::real[]::halfvec;
SELECT '{NULL}'::real[]::halfvec;
SELECT '{{1,2},{3,4}}'::real[]::halfvec;
SELECT '{{1},{2}}'::real[]::halfvec;
SELECT '[5:6]={1,2}'::real[]::halfvec;
SELECT NULL::real[]::halfvec;
SELECT '{1,2,3}'::real[]::halfvec(3);
SELECT '{1,2}'::real[]::halfvec(3);
SELECT array_to_halfvec('{1,2,3}'::real[], -1, false);
SELECT array_to_halfvec('{1,2,3}'::real[], 2, true);
SELECT array_to_halfvec(NULL::real[], 2, true);

-- double precision[] to halfvec.
SELECT '{1.5,-2.25,0.1}'::double precision[]::halfvec;
SELECT '{1e39}'::double precision[]::halfvec;
SELECT '{-1e39,1}'::double precision[]::halfvec;
SELECT '{1e-46}'::double precision[]::halfvec;
SELECT '{1e-320}'::double precision[]::halfvec;
SELECT '{3.4028235677973366e38}'::double precision[]::halfvec;
SELECT '{3.4028235677973362e38}'::double precision[]::halfvec;
SELECT '{65519.9999,2}'::double precision[]::halfvec;
SELECT '{65520}'::double precision[]::halfvec;
SELECT '{NaN}'::double precision[]::halfvec;
SELECT '{Infinity}'::double precision[]::halfvec;
SELECT '{1,-Infinity}'::double precision[]::halfvec;
SELECT '{}'::double precision[]::halfvec;
SELECT '{1,NULL,3}'::double precision[]::halfvec;
SELECT '{NULL}'::double precision[]::halfvec;
SELECT '{{1,2},{3,4}}'::double precision[]::halfvec;
SELECT '{{1},{2}}'::double precision[]::halfvec;
SELECT '[5:6]={1,2}'::double precision[]::halfvec;
SELECT NULL::double precision[]::halfvec;
SELECT '{1,2,3}'::double precision[]::halfvec(3);
SELECT '{1,2}'::double precision[]::halfvec(3);
SELECT array_to_halfvec('{1,2,3}'::double precision[], -1, false);
SELECT array_to_halfvec('{1,2,3}'::double precision[], 2, true);
SELECT array_to_halfvec(NULL::double precision[], 2, true);

-- numeric[] to halfvec.
SELECT '{1.5,-2.25,0.1}'::numeric[]::halfvec;
SELECT '{1e39}'::numeric[]::halfvec;
SELECT '{1e400}'::numeric[]::halfvec;
SELECT '{1e-46}'::numeric[]::halfvec;
SELECT '{1e-400}'::numeric[]::halfvec;
SELECT '{NaN}'::numeric[]::halfvec;
SELECT '{Infinity}'::numeric[]::halfvec;
SELECT '{-Infinity}'::numeric[]::halfvec;
SELECT '{16777217,1.00000017881393432617187501}'::numeric[]::halfvec;
SELECT '{65519.99999999999999999999}'::numeric[]::halfvec;
SELECT '{}'::numeric[]::halfvec;
SELECT '{1,NULL,3}'::numeric[]::halfvec;
SELECT '{NULL}'::numeric[]::halfvec;
SELECT '{{1,2},{3,4}}'::numeric[]::halfvec;
SELECT '{{1},{2}}'::numeric[]::halfvec;
SELECT '[5:6]={1,2}'::numeric[]::halfvec;
SELECT NULL::numeric[]::halfvec;
SELECT '{1,2,3}'::numeric[]::halfvec(3);
SELECT '{1,2}'::numeric[]::halfvec(3);
SELECT array_to_halfvec('{1,2,3}'::numeric[], -1, false);
SELECT array_to_halfvec('{1,2,3}'::numeric[], 2, true);
SELECT array_to_halfvec(NULL::numeric[], 2, true);

-- Arrays that have no cast.
SELECT '{1,2}'::bigint[]::halfvec;
SELECT '{1,2}'::smallint[]::halfvec;
SELECT '{1,2}'::text[]::halfvec;
SELECT '{1,2}'::boolean[]::halfvec;
SELECT ARRAY[1,2.5]::halfvec;
SELECT ARRAY[]::integer[]::halfvec;
SELECT ARRAY[[1,2]]::halfvec;
SELECT ARRAY[1,2]::halfvec;

-- Assignment of arrays: INSERT takes them, an argument does not.
CREATE TEMP TABLE t (v halfvec);
INSERT INTO t VALUES (ARRAY[1,2]);
INSERT INTO t VALUES (ARRAY[1.5,2.5]);
INSERT INTO t VALUES ('{1,2}'::real[]);
INSERT INTO t VALUES ('{1,2}'::float8[]);
INSERT INTO t VALUES ('{1,2}'::bigint[]);
INSERT INTO t VALUES ('{1,2}');
INSERT INTO t VALUES (ARRAY[1,NULL]);
SELECT * FROM t;
SELECT l2_distance(ARRAY[1,2], ARRAY[3,4]);
SELECT '[1,2]'::halfvec <-> ARRAY[3,4];
SELECT '[1,2]'::halfvec <-> ARRAY[3,4]::real[];
SELECT '[1,2]'::halfvec <-> '[3,4]';
SELECT '[1,2]'::halfvec = ARRAY[1,2]::real[];
SELECT '[1,2]'::halfvec <-> ARRAY[3,4]::halfvec;

-- halfvec to arrays.
SELECT '[1,2.5,-0]'::halfvec::real[];
SELECT '[1,2.5]'::halfvec::float8[];
SELECT '[1,2]'::halfvec::integer[];
SELECT '[1,2]'::halfvec::numeric[];
SELECT '[1,2]'::halfvec::text[];
SELECT NULL::halfvec::real[];
SELECT halfvec_to_float4('[1,2,3]', -1, false);
SELECT halfvec_to_float4('[1,2,3]', 2, true);
SELECT array_length('[1,2]'::halfvec, 1);
SELECT array_length('[1,2]'::halfvec::real[], 1);
SELECT array_dims('[1,2]'::halfvec::real[]);
SELECT ('[1,2]'::halfvec)[1];
SELECT ('[1,2]'::halfvec::real[])[2];
SELECT unnest('[1,2]'::halfvec);
SELECT unnest('[1,2]'::halfvec::real[]);
SELECT array_to_string('[1,2]'::halfvec::real[], ';');
CREATE TEMP TABLE reals (r real[], d float8[]);
INSERT INTO reals (r) VALUES ('[1,2]'::halfvec);
INSERT INTO reals (d) VALUES ('[1,2]'::halfvec);
SELECT * FROM reals;
SELECT '[1,2]'::halfvec::real[] || 3::real;
SELECT 2 = ANY('[1,2]'::halfvec::real[]);
SELECT 2 = ANY('[1,2]'::halfvec);

-- The first element that does not fit is named.
SELECT '{65520,1e400}'::numeric[]::halfvec;
SELECT '{1e400,65520}'::numeric[]::halfvec;
SELECT '{1,65520,70000}'::real[]::halfvec;
SELECT '{1e400,NaN}'::numeric[]::halfvec;
SELECT '{NaN,1e400}'::numeric[]::halfvec;
SELECT '{NaN,65520}'::real[]::halfvec;

-- vector and halfvec.
SELECT '[1,2,3]'::vector::halfvec;
SELECT '[2049,2051]'::vector::halfvec;
SELECT '[65504]'::vector::halfvec;
SELECT '[65519]'::vector::halfvec;
SELECT '[65520]'::vector::halfvec;
SELECT '[-65520]'::vector::halfvec;
SELECT '[3e38]'::vector::halfvec;
SELECT '[1e-8,2.98e-8,2.99e-8]'::vector::halfvec;
SELECT '[-1e-10]'::vector::halfvec;
SELECT '[0.1]'::vector::halfvec;
SELECT '[1,2,3]'::halfvec::vector;
SELECT '[0.1]'::halfvec::vector;
SELECT '[65504]'::halfvec::vector;
SELECT '[6e-8]'::halfvec::vector;
SELECT '[-0]'::halfvec::vector;
SELECT '[1,2]'::vector::halfvec(2);
SELECT '[1,2]'::vector::halfvec(3);
SELECT '[1,2]'::halfvec::vector(2);
SELECT '[1,2]'::halfvec::vector(3);
SELECT NULL::vector::halfvec;
SELECT NULL::halfvec::vector;
SELECT vector_to_halfvec('[1,2]', -1, false);
SELECT vector_to_halfvec('[1,2]', 3, false);
SELECT halfvec_to_vector('[1,2]', -1, false);
SELECT halfvec_to_vector('[1,2]', 3, false);
SELECT '[1,2]'::vector <-> '[3,4]'::halfvec;
SELECT '[1,2]'::halfvec <-> '[3,4]'::vector;
SELECT l2_distance('[1,2]'::vector, '[3,4]'::halfvec);
SELECT l2_norm('[3,4]'::vector);
SELECT vector_norm('[3,4]'::halfvec);
SELECT l2_distance('[1,2]', '[3,4]');
SELECT vector_dims('[1,2]');
SELECT l2_normalize('[3,4]');
SELECT '[1,2]'::vector = '[1,2]'::halfvec;
SELECT '[1,2]'::vector || '[3]'::halfvec;
SELECT '[1,2]'::halfvec + '[3,4]'::vector;
CREATE TEMP TABLE h (v vector, h halfvec(2));
INSERT INTO h VALUES ('[1,2]'::halfvec, '[1,2]'::vector);
INSERT INTO h (h) VALUES ('[1,2,3]'::vector);
INSERT INTO h (h) VALUES ('[1e10,2]'::vector);
SELECT * FROM h;
SELECT avg(v::halfvec), sum(h::vector) FROM h;
ALTER TABLE h ALTER v TYPE halfvec(2);
ALTER TABLE h ALTER h TYPE vector(2);
ALTER TABLE h ALTER h TYPE real[];
