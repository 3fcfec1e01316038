-- halfvec: text in and out.

-- Well-formed.
SELECT '[1,2,3]'::halfvec;
SELECT '[1]'::halfvec;
SELECT '[-1,-2,-3]'::halfvec;
SELECT '[+1,+2]'::halfvec;
SELECT '[1.,2.,3.]'::halfvec;
SELECT '[.5,-.5,+.5]'::halfvec;
SELECT ' [ 1,  2 ,    3  ] '::halfvec;
SELECT E'\t[\n1\r,\x0b2\f]\n'::halfvec;
SELECT '[1e3,1E-3,1e+3]'::halfvec;
SELECT '[0,-0,0.0,-0e5]'::halfvec;
SELECT '[00001,1.5000]'::halfvec;
SELECT '[0x10,0X1p4,-0x.8,0x1.8p-1]'::halfvec;
SELECT '[1e-5,1e-4,0.001,123456,1234567]'::halfvec;
SELECT '[0.1,0.2,0.3]'::halfvec;
SELECT '[1.5e1,15e-1]'::halfvec;
SELECT '[1,2,3 ]'::halfvec;
SELECT '[ 1,2]'::halfvec;
SELECT '[1 ,2]'::halfvec;
SELECT '[2048,2049,2050,2051,2052,2053]'::halfvec;
SELECT '[1.0005,1.0004883,1.0009766]'::halfvec;
SELECT '[65504,-65504]'::halfvec;
SELECT '[6.1035e-5,6.0976e-5,5.9604645e-8]'::halfvec;
SELECT '[0.333333333,0.666666667,2.718281828]'::halfvec;
SELECT '[1234.5,12345,54321]'::halfvec;
SELECT '[100000e-1,0.00001e5]'::halfvec;

-- Malformed.
SELECT ''::halfvec;
SELECT '  '::halfvec;
SELECT '[]'::halfvec;
SELECT '[ ]'::halfvec;
SELECT '1,2,3'::halfvec;
SELECT '{1,2,3}'::halfvec;
SELECT '(1,2)'::halfvec;
SELECT '['::halfvec;
SELECT ']'::halfvec;
SELECT '[1'::halfvec;
SELECT '[1,'::halfvec;
SELECT '[1,2'::halfvec;
SELECT '[1,]'::halfvec;
SELECT '[,1]'::halfvec;
SELECT '[,]'::halfvec;
SELECT '[1,,3]'::halfvec;
SELECT '[1 2]'::halfvec;
SELECT '[1;2]'::halfvec;
SELECT '[1,2]]'::halfvec;
SELECT '[[1,2]'::halfvec;
SELECT '[[1,2]]'::halfvec;
SELECT '[1,2],'::halfvec;
SELECT '[1,2]a'::halfvec;
SELECT '[1,2] [3]'::halfvec;
SELECT '[1,2] ]'::halfvec;
SELECT '[a]'::halfvec;
SELECT '[1,a]'::halfvec;
SELECT '[1a]'::halfvec;
SELECT '[1,2a]'::halfvec;
SELECT '[1e]'::halfvec;
SELECT '[1e+]'::halfvec;
SELECT '[e5]'::halfvec;
SELECT '[.]'::halfvec;
SELECT '[-]'::halfvec;
SELECT '[+]'::halfvec;
SELECT '[--1]'::halfvec;
SELECT '[+-1]'::halfvec;
SELECT '[- 1]'::halfvec;
SELECT '[0x]'::halfvec;
SELECT '[0xg]'::halfvec;
SELECT '[1_000]'::halfvec;
SELECT '[1.2.3]'::halfvec;
SELECT '[''1'']'::halfvec;
SELECT '["1"]'::halfvec;
SELECT '[null]'::halfvec;
SELECT '[NULL,1]'::halfvec;
SELECT 'null'::halfvec;
SELECT '[1,2)'::halfvec;
SELECT E'[é]'::halfvec;
SELECT E'é'::halfvec;
SELECT E'[1,2]é'::halfvec;
SELECT E'[１]'::halfvec;
SELECT E'[1 ,2]'::halfvec;
SELECT '[true]'::halfvec;
SELECT '[1/2]'::halfvec;
SELECT E'[1,2\n'::halfvec;
SELECT 'x[1,2]'::halfvec;
SELECT '[1e1.5]'::halfvec;
SELECT '[1d]'::halfvec;
SELECT '[1f]'::halfvec;

-- What is not a number.
SELECT '[NaN,1]'::halfvec;
SELECT '[nan]'::halfvec;
SELECT '[1,NAN]'::halfvec;
SELECT '[-nan]'::halfvec;
SELECT '[nan(1)]'::halfvec;
SELECT '[Infinity]'::halfvec;
SELECT '[1,-Infinity]'::halfvec;
SELECT '[inf]'::halfvec;
SELECT '[+inf,1]'::halfvec;
SELECT '[INF]'::halfvec;
SELECT '[infinit]'::halfvec;
SELECT '[nanx]'::halfvec;

-- Overflow and underflow.
SELECT '[65505]'::halfvec;
SELECT '[65519]'::halfvec;
SELECT '[65519.99]'::halfvec;
SELECT '[65520]'::halfvec;
SELECT '[-65520]'::halfvec;
SELECT '[65536]'::halfvec;
SELECT '[1e5]'::halfvec;
SELECT '[-1e5]'::halfvec;
SELECT '[1e39]'::halfvec;
SELECT '[1e400]'::halfvec;
SELECT '[-1e400,1]'::halfvec;
SELECT '[2.98e-8]'::halfvec;
SELECT '[2.9802322e-8]'::halfvec;
SELECT '[2.99e-8]'::halfvec;
SELECT '[1e-8]'::halfvec;
SELECT '[-1e-8]'::halfvec;
SELECT '[1e-46]'::halfvec;
SELECT '[-1e-400]'::halfvec;
SELECT '[0x1p16]'::halfvec;
SELECT '[0x1p-25]'::halfvec;
SELECT '[0x1.8p-25]'::halfvec;
SELECT '[0xFFEp4]'::halfvec;

-- How many dimensions there may be.
SELECT vector_dims(('[' || repeat('1,', 15999) || '1]')::halfvec);
SELECT ('[' || repeat('1,', 16000) || '1]')::halfvec;
SELECT ('[' || repeat('1,', 20000) || 'x]')::halfvec;
SELECT ('[' || repeat('1,', 16000) || ']')::halfvec;
SELECT left(array_fill(1, ARRAY[16000])::halfvec::text, 12);
SELECT array_fill(1, ARRAY[16001])::halfvec;

-- The functions behind input and output.
SELECT halfvec_in('[1,2]', 0, -1);
SELECT halfvec_in('[1,2]', 0, 2);
SELECT halfvec_in('[1,2]', 0, 3);
SELECT halfvec_in(NULL, 0, -1);
SELECT halfvec_out('[1,2.5]');
SELECT halfvec_out(NULL);
SELECT halfvec_send('[1,-2.5]');
SELECT halfvec_send(NULL);
SELECT halfvec_send('[0,-0,1e-7]');

-- Literals of other kinds, and text from other types.
SELECT halfvec '[1,2]';
SELECT CAST('[1,2]' AS halfvec);
SELECT '[1,2]'::text::halfvec;
SELECT '[1,2]'::varchar::halfvec;
SELECT '[1,2]'::halfvec::text;
SELECT '[1,2,3]'::halfvec::varchar(4);
SELECT NULL::halfvec;
SELECT to_jsonb('[1,2]'::halfvec);
SELECT row_to_json(row('[1,2]'::halfvec));
SELECT '[1, 2]'::json::text::halfvec;
SELECT format('%s', '[1,2]'::halfvec);
SELECT quote_literal('[1,2]'::halfvec);
SELECT concat('[1]'::halfvec, '-', '[2]'::halfvec);
SELECT 1::halfvec;
SELECT true::halfvec;
SELECT '[1,2]'::halfvec::json;
SELECT '[1,2]'::halfvec::integer;

-- Size on disk.
SELECT pg_column_size('[1]'::halfvec), pg_column_size('[1,2,3]'::halfvec), pg_column_size(array_fill(1, ARRAY[1000])::halfvec);
