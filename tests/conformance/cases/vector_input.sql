-- vector: text in and out.

-- Well-formed.
SELECT '[1,2,3]'::vector;
SELECT '[1]'::vector;
SELECT '[-1,-2,-3]'::vector;
SELECT '[+1,+2]'::vector;
SELECT '[1.,2.,3.]'::vector;
SELECT '[.5,-.5,+.5]'::vector;
SELECT ' [ 1,  2 ,    3  ] '::vector;
SELECT E'\t[\n1\r,\x0b2\f]\n'::vector;
SELECT '[1e3,1E-3,1e+3]'::vector;
SELECT '[0,-0,0.0,-0e5]'::vector;
SELECT '[00001,1.5000]'::vector;
SELECT '[0x10,0X1p4,-0x.8,0x1.8p-1]'::vector;
SELECT '[1e-5,1e-4,0.001,123456,1234567]'::vector;
SELECT '[0.1,0.2,0.3]'::vector;
SELECT '[1.5e1,15e-1]'::vector;
SELECT '[1,2,3 ]'::vector;
SELECT '[ 1,2]'::vector;
SELECT '[1 ,2]'::vector;
SELECT '[16777217,16777219,33554433]'::vector;
SELECT '[1.00000017881393432617187499,1.00000017881393432617187500,1.00000017881393432617187501]'::vector;
SELECT '[0.000000000000000000000000000000000000000000000000000000000000000000001e69]'::vector;
SELECT '[123456789012345678901234567890]'::vector;
SELECT '[1e15,1e16,-1.5e-7]'::vector;
SELECT '[0.333333333,0.666666667,2.718281828]'::vector;
SELECT '[3.4028235e38,-3.4028235e38]'::vector;
SELECT '[1.1754944e-38,1e-45]'::vector;

-- Malformed.
SELECT ''::vector;
SELECT '  '::vector;
SELECT '[]'::vector;
SELECT '[ ]'::vector;
SELECT '1,2,3'::vector;
SELECT '{1,2,3}'::vector;
SELECT '(1,2)'::vector;
SELECT '['::vector;
SELECT ']'::vector;
SELECT '[1'::vector;
SELECT '[1,'::vector;
SELECT '[1,2'::vector;
SELECT '[1,]'::vector;
SELECT '[,1]'::vector;
SELECT '[,]'::vector;
SELECT '[1,,3]'::vector;
SELECT '[1 2]'::vector;
SELECT '[1;2]'::vector;
SELECT '[1,2]]'::vector;
SELECT '[[1,2]'::vector;
SELECT '[[1,2]]'::vector;
SELECT '[1,2],'::vector;
SELECT '[1,2]a'::vector;
SELECT '[1,2] [3]'::vector;
SELECT '[1,2] ]'::vector;
SELECT '[a]'::vector;
SELECT '[1,a]'::vector;
SELECT '[1a]'::vector;
SELECT '[1,2a]'::vector;
SELECT '[1e]'::vector;
SELECT '[1e+]'::vector;
SELECT '[e5]'::vector;
SELECT '[.]'::vector;
SELECT '[-]'::vector;
SELECT '[+]'::vector;
SELECT '[--1]'::vector;
SELECT '[+-1]'::vector;
SELECT '[- 1]'::vector;
SELECT '[0x]'::vector;
SELECT '[0xg]'::vector;
SELECT '[1_000]'::vector;
SELECT '[1.2.3]'::vector;
SELECT '[''1'']'::vector;
SELECT '["1"]'::vector;
SELECT '[null]'::vector;
SELECT '[NULL,1]'::vector;
SELECT 'null'::vector;
SELECT '[1,2)'::vector;
SELECT E'[é]'::vector;
SELECT E'é'::vector;
SELECT E'[1,2]é'::vector;
SELECT E'[１]'::vector;
SELECT E'[1 ,2]'::vector;
SELECT '[true]'::vector;
SELECT '[1/2]'::vector;
SELECT E'[1,2\n'::vector;
SELECT 'x[1,2]'::vector;
SELECT '[1e1.5]'::vector;
SELECT '[1d]'::vector;
SELECT '[1f]'::vector;

-- What is not a number.
SELECT '[NaN,1]'::vector;
SELECT '[nan]'::vector;
SELECT '[1,NAN]'::vector;
SELECT '[-nan]'::vector;
SELECT '[nan(1)]'::vector;
SELECT '[Infinity]'::vector;
SELECT '[1,-Infinity]'::vector;
SELECT '[inf]'::vector;
SELECT '[+inf,1]'::vector;
SELECT '[INF]'::vector;
SELECT '[infinit]'::vector;
SELECT '[nanx]'::vector;

-- Overflow and underflow.
SELECT '[3.4028236e38]'::vector;
SELECT '[3.4028235677973366e38]'::vector;
SELECT '[1e39]'::vector;
SELECT '[-1e39]'::vector;
SELECT '[1e400]'::vector;
SELECT '[-1e400,1]'::vector;
SELECT '[1,2,4e38]'::vector;
SELECT '[4e-46]'::vector;
SELECT '[-4e-46]'::vector;
SELECT '[1e-46]'::vector;
SELECT '[-1e-400]'::vector;
SELECT '[7e-46]'::vector;
SELECT '[7.1e-46]'::vector;
SELECT '[1e99999999999999999999]'::vector;
SELECT '[1e-99999999999999999999]'::vector;
SELECT '[0x1p128]'::vector;
SELECT '[0x1p-150]'::vector;

-- How many dimensions there may be.
SELECT vector_dims(('[' || repeat('1,', 15999) || '1]')::vector);
SELECT ('[' || repeat('1,', 16000) || '1]')::vector;
SELECT ('[' || repeat('1,', 20000) || 'x]')::vector;
SELECT ('[' || repeat('1,', 16000) || ']')::vector;
SELECT left(array_fill(1, ARRAY[16000])::vector::text, 12);
SELECT array_fill(1, ARRAY[16001])::vector;

-- The functions behind input and output.
SELECT vector_in('[1,2]', 0, -1);
SELECT vector_in('[1,2]', 0, 2);
SELECT vector_in('[1,2]', 0, 3);
SELECT vector_in(NULL, 0, -1);
SELECT vector_out('[1,2.5]');
SELECT vector_out(NULL);
SELECT vector_send('[1,-2.5]');
SELECT vector_send(NULL);
SELECT vector_send('[0,-0,1e-7]');

-- Literals of other kinds, and text from other types.
SELECT vector '[1,2]';
SELECT CAST('[1,2]' AS vector);
SELECT '[1,2]'::text::vector;
SELECT '[1,2]'::varchar::vector;
SELECT '[1,2]'::vector::text;
SELECT '[1,2,3]'::vector::varchar(4);
SELECT NULL::vector;
SELECT to_jsonb('[1,2]'::vector);
SELECT row_to_json(row('[1,2]'::vector));
SELECT '[1, 2]'::json::text::vector;
SELECT format('%s', '[1,2]'::vector);
SELECT quote_literal('[1,2]'::vector);
SELECT concat('[1]'::vector, '-', '[2]'::vector);
SELECT 1::vector;
SELECT true::vector;
SELECT '[1,2]'::vector::json;
SELECT '[1,2]'::vector::integer;

-- Size on disk.
SELECT pg_column_size('[1]'::vector), pg_column_size('[1,2,3]'::vector), pg_column_size(array_fill(1, ARRAY[1000])::vector);
