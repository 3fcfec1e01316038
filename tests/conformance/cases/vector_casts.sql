-- vector: casts from and to arrays and itself.

-- integer[] to vector.
SELECT '{1,2,3}'::integer[]::vector;
SELECT '{-2147483648,2147483647}'::integer[]::vector;
SELECT '{16777217}'::integer[]::vector;
SELECT '{}'::integer[]::vector;
SELECT '{1,NULL,3}'::integer[]::vector;
SELECT '{NULL}'::integer[]::vector;
SELECT '{{1,2},{3,4}}'::integer[]::vector;
SELECT '{{1},{2}}'::integer[]::vector;
SELECT '[5:6]={1,2}'::integer[]::vector;
SELECT NULL::integer[]::vector;
SELECT '{1,2,3}'::integer[]::vector(3);
SELECT '{1,2}'::integer[]::vector(3);
SELECT array_to_vector('{1,2,3}'::integer[], -1, false);
SELECT array_to_vector('{1,2,3}'::integer[], 2, true);
SELECT array_to_vector(NULL::integer[], 2, true);

-- real[] to vector.
SELECT '{1.5,-2.25,0.1}'::real[]::vector;
SELECT '{1e-45,3.4028235e38}'::real[]::vector;
SELECT '{65504,65520}'::real[]::vector;
SELECT '{NaN}'::real[]::vector;
SELECT '{Infinity,1}'::real[]::vector;
SELECT '{1,-Infinity}'::real[]::vector;
SELECT '{}'::real[]::vector;
SELECT '{1,NULL,3}'::real[]::vector;
SELECT '{NULL}'::real[]::vector;
SELECT '{{1,2},{3,4}}'::real[]::vector;
SELECT '{{1},{2}}'::real[]::vector;
SELECT '[5:6]={1,2}'::real[]::vector;
SELECT NULL::real[]::vector;
SELECT '{1,2,3}'::real[]::vector(3);
SELECT '{1,2}'::real[]::vector(3);
SELECT array_to_vector('{1,2,3}'::real[], -1, false);
SELECT array_to_vector('{1,2,3}'::real[], 2, true);
SELECT array_to_vector(NULL::real[], 2, true);

-- double precision[] to vector.
SELECT '{1.5,-2.25,0.1}'::double precision[]::vector;
SELECT '{1e39}'::double precision[]::vector;
SELECT '{-1e39,1}'::double precision[]::vector;
SELECT '{1e-46}'::double precision[]::vector;
SELECT '{1e-320}'::double precision[]::vector;
SELECT '{3.4028235677973366e38}'::double precision[]::vector;
SELECT '{3.4028235677973362e38}'::double precision[]::vector;
SELECT '{65519.9999,2}'::double precision[]::vector;
SELECT '{65520}'::double precision[]::vector;
SELECT '{NaN}'::double precision[]::vector;
SELECT '{Infinity}'::double precision[]::vector;
SELECT '{1,-Infinity}'::double precision[]::vector;
SELECT '{}'::double precision[]::vector;
SELECT '{1,NULL,3}'::double precision[]::vector;
SELECT '{NULL}'::double precision[]::vector;
SELECT '{{1,2},{3,4}}'::double precision[]::vector;
SELECT '{{1},{2}}'::double precision[]::vector;
SELECT '[5:6]={1,2}'::double precision[]::vector;
SELECT NULL::double precision[]::vector;
SELECT '{1,2,3}'::double precision[]::vector(3);
SELECT '{1,2}'::double precision[]::vector(3);
SELECT array_to_vector('{1,2,3}'::double precision[], -1, false);
SELECT array_to_vector('{1,2,3}'::double precision[], 2, true);
SELECT array_to_vector(NULL::double precision[], 2, true);

-- numeric[] to vector.
SELECT '{1.5,-2.25,0.1}'::numeric[]::vector;
SELECT '{1e39}'::numeric[]::vector;
SELECT '{1e400}'::numeric[]::vector;
SELECT '{1e-46}'::numeric[]::vector;
SELECT '{1e-400}'::numeric[]::vector;
SELECT '{NaN}'::numeric[]::vector;
SELECT '{Infinity}'::numeric[]::vector;
SELECT '{-Infinity}'::numeric[]::vector;
SELECT '{16777217,1.00000017881393432617187501}'::numeric[]::vector;
SELECT '{65519.99999999999999999999}'::numeric[]::vector;
SELECT '{}'::numeric[]::vector;
SELECT '{1,NULL,3}'::numeric[]::vector;
SELECT '{NULL}'::numeric[]::vector;
SELECT '{{1,2},{3,4}}'::numeric[]::vector;
SELECT '{{1},{2}}'::numeric[]::vector;
SELECT '[5:6]={1,2}'::numeric[]::vector;
SELECT NULL::numeric[]::vector;
SELECT '{1,2,3}'::numeric[]::vector(3);
SELECT '{1,2}'::numeric[]::vector(3);
SELECT array_to_vector('{1,2,3}'::numeric[], -1, false);
SELECT array_to_vector('{1,2,3}'::numeric[], 2, true);
SELECT array_to_vector(NULL::numeric[], 2, true);

-- Arrays that have no cast.
SELECT '{1,2}'::bigint[]::vector;
SELECT '{1,2}'::smallint[]::vector;
SELECT '{1,2}'::text[]::vector;
SELECT '{1,2}'::boolean[]::vector;
SELECT ARRAY[1,2.5]::vector;
SELECT ARRAY[]::integer[]::vector;
SELECT ARRAY[[1,2]]::vector;
SELECT ARRAY[1,2]::vector;

-- Assignment of arrays: INSERT takes them, an argument does not.
CREATE TEMP TABLE t (v vector);
INSERT INTO t VALUES (ARRAY[1,2]);
INSERT INTO t VALUES (ARRAY[1.5,2.5]);
INSERT INTO t VALUES ('{1,2}'::real[]);
INSERT INTO t VALUES ('{1,2}'::float8[]);
INSERT INTO t VALUES ('{1,2}'::bigint[]);
INSERT INTO t VALUES ('{1,2}');
INSERT INTO t VALUES (ARRAY[1,NULL]);
SELECT * FROM t;
SELECT l2_distance(ARRAY[1,2], ARRAY[3,4]);
SELECT '[1,2]'::vector <-> ARRAY[3,4];
SELECT '[1,2]'::vector <-> ARRAY[3,4]::real[];
SELECT '[1,2]'::vector <-> '[3,4]';
SELECT '[1,2]'::vector = ARRAY[1,2]::real[];
SELECT '[1,2]'::vector <-> ARRAY[3,4]::vector;

-- vector to arrays.
SELECT '[1,2.5,-0]'::vector::real[];
SELECT '[1,2.5]'::vector::float8[];
SELECT '[1,2]'::vector::integer[];
SELECT '[1,2]'::vector::numeric[];
SELECT '[1,2]'::vector::text[];
SELECT NULL::vector::real[];
SELECT vector_to_float4('[1,2,3]', -1, false);
SELECT vector_to_float4('[1,2,3]', 2, true);
SELECT array_length('[1,2]'::vector, 1);
SELECT array_length('[1,2]'::vector::real[], 1);
SELECT array_dims('[1,2]'::vector::real[]);
SELECT ('[1,2]'::vector)[1];
SELECT ('[1,2]'::vector::real[])[2];
SELECT unnest('[1,2]'::vector);
SELECT unnest('[1,2]'::vector::real[]);
SELECT array_to_string('[1,2]'::vector::real[], ';');
CREATE TEMP TABLE reals (r real[], d float8[]);
INSERT INTO reals (r) VALUES ('[1,2]'::vector);
INSERT INTO reals (d) VALUES ('[1,2]'::vector);
SELECT * FROM reals;
SELECT '[1,2]'::vector::real[] || 3::real;
SELECT 2 = ANY('[1,2]'::vector::real[]);
SELECT 2 = ANY('[1,2]'::vector);
