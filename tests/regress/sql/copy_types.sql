-- COPY of halfvec and sparsevec in text and binary form, and the binary forms byte by byte.
SELECT current_setting('data_directory') || '/types_copy.bin' AS file \gset

CREATE TABLE source (id integer, h halfvec(3), s sparsevec(3));
INSERT INTO source VALUES (1, '[0,-0,1]', '{}/3'), (2, '[1.5,5.9604645e-08,-65504]', '{1:1.5,2:1e-45,3:-3.4028235e38}/3'),
    (3, NULL, NULL), (4, '[0.1,0.2,0.3]', '{3:0.1}/3');
CREATE TABLE target (LIKE source);

COPY source TO :'file' WITH (FORMAT binary);
COPY target FROM :'file' WITH (FORMAT binary);
SELECT id, target.h, halfvec_send(target.h) = halfvec_send(o.h) AS same_h, target.s, sparsevec_send(target.s) = sparsevec_send(o.s) AS same_s
FROM target JOIN source o USING (id) ORDER BY id;
TRUNCATE target;

COPY source TO :'file';
COPY target FROM :'file';
SELECT id, halfvec_send(target.h) = halfvec_send(o.h) AS same_h, sparsevec_send(target.s) = sparsevec_send(o.s) AS same_s
FROM target JOIN source o USING (id) ORDER BY id;
COPY target TO STDOUT WITH (FORMAT csv);
COPY target (id, h) FROM STDIN;
5	[1,2]
\.
COPY target (id, s) FROM STDIN;
6	{1:1}/2
\.

-- A binary form made for another number of dimensions is refused by the column.
CREATE TABLE narrow (id integer, h halfvec(2), s sparsevec);
COPY narrow FROM :'file';
COPY source TO :'file' WITH (FORMAT binary);
COPY narrow FROM :'file' WITH (FORMAT binary);
CREATE TABLE narrow_sparse (id integer, h halfvec, s sparsevec(4));
COPY narrow_sparse FROM :'file' WITH (FORMAT binary);

-- The bytes.
SELECT halfvec_send('[1,-2,0.5]'), halfvec_send('[-0,5.9604645e-08]');
SELECT sparsevec_send('{}/5'), sparsevec_send('{2:1,5:-0.5}/5');

-- Messages made by hand, received through COPY: header, one row, one field of the given bytes.
CREATE TABLE received_halfvec (v halfvec);
CREATE TABLE received_sparsevec (v sparsevec);
CREATE FUNCTION pg_temp.receive(type text, field bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE format('TRUNCATE received_%s', type);
    PERFORM lo_unlink(4712) FROM pg_largeobject_metadata WHERE oid = 4712;
    PERFORM lo_from_bytea(4712, '\x5047434f50590aff0d0a0000000000000000000001'::bytea
        || int4send(octet_length(field)) || field || '\xffff');
    PERFORM lo_export(4712, current_setting('data_directory') || '/types_copy.bin');
    PERFORM lo_unlink(4712);
    EXECUTE format('COPY received_%s FROM %L WITH (FORMAT binary)', type, current_setting('data_directory') || '/types_copy.bin');
    EXECUTE format('SELECT v::text FROM received_%s', type) INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' | ' || SQLERRM;
END
$$;
SELECT field, pg_temp.receive('halfvec', field) FROM unnest(ARRAY[
    '\x000100003c00',
    '\x000200003c00c000',
    '\x000100008000',
    '\x000100000001',
    '\x',
    '\x0001',
    '\x00010000',
    '\x000100003c',
    '\x000200003c00',
    '\x000100003c0000',
    '\x00000000',
    '\x000100013c00',
    '\x0001ffff3c00',
    '\x000100007e00',
    '\x00010000fc01',
    '\x000100007c00',
    '\x00010000fc00',
    '\x000200007c00',
    '\x3e810000',
    '\x80000000',
    '\xffff0000'
]::bytea[]) field;
SELECT field, pg_temp.receive('sparsevec', field) FROM unnest(ARRAY[
    '\x000000050000000000000000',
    '\x00000005000000020000000000000001000000043f800000bf000000',
    '\x000000010000000100000000000000003f800000',
    '\x',
    '\x00000005',
    '\x0000000500000000',
    '\x000000050000000200000000',
    '\x0000000500000002000000000000000100000004',
    '\x00000005000000020000000000000001000000043f800000',
    '\x00000005000000020000000000000001000000043f800000bf00000000',
    '\x000000000000000000000000',
    '\xffffffff0000000000000000',
    '\x3b9aca010000000000000000',
    '\x00000005ffffffff00000000',
    '\x00004e2000003e8100000000',
    '\x000000050000000600000000',
    '\x000000050000000000000001',
    '\x0000000500000000ffffffff',
    '\x000000050000000100000000ffffffff3f800000',
    '\x000000050000000100000000000000053f800000',
    '\x00000005000000020000000000000004000000013f8000003f800000',
    '\x00000005000000020000000000000001000000013f8000003f800000',
    '\x00000005000000020000000000000001000000',
    '\x0000000500000002000000000000000400000001',
    '\x000000050000000100000000000000010000',
    '\x0000000500000001000000000000000100000000',
    '\x0000000500000001000000000000000180000000',
    '\x000000050000000100000000000000017fc00000',
    '\x00000005000000010000000000000001ff800000'
]::bytea[]) field;
DROP TABLE source, target, narrow, narrow_sparse, received_halfvec, received_sparsevec;
