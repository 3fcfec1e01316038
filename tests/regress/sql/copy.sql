-- COPY in text and binary form, and the binary form byte by byte.
SELECT current_setting('data_directory') || '/vector_copy.bin' AS file \gset

CREATE TABLE source (id integer, v vector(3));
INSERT INTO source VALUES (1, '[0,-0,1]'), (2, '[1.5,1e-45,-3.4028235e38]'), (3, NULL), (4, '[0.1,0.2,0.30000001]');
CREATE TABLE target (LIKE source);

COPY source TO :'file' WITH (FORMAT binary);
COPY target FROM :'file' WITH (FORMAT binary);
SELECT id, target.v, target.v::real[] = s.v::real[] AS same, vector_send(target.v) = vector_send(s.v) AS same_bytes
FROM target JOIN source s USING (id) ORDER BY id;
TRUNCATE target;

COPY source TO :'file';
COPY target FROM :'file';
SELECT id, vector_send(target.v) = vector_send(s.v) AS same_bytes FROM target JOIN source s USING (id) ORDER BY id;
COPY target TO STDOUT WITH (FORMAT csv);
TRUNCATE target;

COPY target FROM STDIN;
1	[1,2,3]
2	\N
\.
COPY target FROM STDIN;
3	[1,2]
\.
COPY target FROM STDIN WITH (FORMAT csv);
4,"[1,2,x]"
\.
SELECT * FROM target ORDER BY id;

-- A binary form made for another number of dimensions is refused by the column.
CREATE TABLE narrow (id integer, v vector(2));
COPY narrow FROM :'file' WITH (FORMAT binary);
CREATE TABLE other (id integer, v real);
INSERT INTO other VALUES (1, 1.5);
COPY other TO :'file' WITH (FORMAT binary);
COPY target FROM :'file' WITH (FORMAT binary);

-- The bytes: dimensions, zero, elements, in network order.
SELECT vector_send('[1,-2,0.5]'), vector_send('[-0,1e-45]');
SELECT octet_length(vector_send(array_fill(1, ARRAY[16000])::vector));

-- Messages made by hand, received through COPY: header, one row, one field of the given bytes.
CREATE TABLE received (v vector);
CREATE FUNCTION pg_temp.receive(field bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE received;
    PERFORM lo_unlink(4711) FROM pg_largeobject_metadata WHERE oid = 4711;
    PERFORM lo_from_bytea(4711, '\x5047434f50590aff0d0a0000000000000000000001'::bytea
        || int4send(octet_length(field)) || field || '\xffff');
    PERFORM lo_export(4711, current_setting('data_directory') || '/vector_copy.bin');
    PERFORM lo_unlink(4711);
    EXECUTE format('COPY received FROM %L WITH (FORMAT binary)', current_setting('data_directory') || '/vector_copy.bin');
    RETURN (SELECT v::text FROM received);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' | ' || SQLERRM;
END
$$;
SELECT field, pg_temp.receive(field) FROM unnest(ARRAY[
    '\x000100003f800000',
    '\x000200003f800000c0000000',
    '\x0001000080000000',
    '\x0001000000000001',
    '\x',
    '\x00',
    '\x0001',
    '\x00010000',
    '\x000100003f8000',
    '\x000200003f800000',
    '\x000100003f80000000',
    '\x00000000',
    '\x000100013f800000',
    '\x0001ffff3f800000',
    '\x00017fc03f800000',
    '\x000100007fc00000',
    '\x00010000ffc00000',
    '\x000100007f800000',
    '\x00010000ff800000',
    '\x000200007f800000',
    '\x000200007fc00000ff',
    '\x3e810000',
    '\x80000000',
    '\xffff0000',
    '\x00030001',
    '\x00000001'
]::bytea[]) field;
SELECT left(pg_temp.receive('\x3e800000'::bytea || decode(repeat('3f800000', 16000), 'hex')), 9);
DROP TABLE source, target, narrow, other, received;
