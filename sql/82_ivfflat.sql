-- In place of pgvector: the access method under the name that pgvector's DDL has.

CREATE FUNCTION vectorgpu.create_ivfflat() RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS
$$
DECLARE
    own oid := (SELECT extnamespace FROM pg_extension WHERE extname = 'vectorgpu');
    handler regprocedure := (SELECT amhandler FROM pg_am WHERE amname = 'ivf');
    taken oid := (SELECT amhandler FROM pg_am WHERE amname = 'ivfflat');
    class record;
BEGIN
    IF taken <> handler THEN
        RAISE EXCEPTION USING ERRCODE = 'duplicate_object',
            MESSAGE = 'access method "ivfflat" already exists in this database',
            HINT = 'It is pgvector''s where extension "vector" is installed; indexes of both can stand side by side as ivfflat and ivf.';
    END IF;
    IF taken IS NULL THEN
        EXECUTE format('CREATE ACCESS METHOD ivfflat TYPE INDEX HANDLER %s', handler::regproc);
        COMMENT ON ACCESS METHOD ivfflat IS 'the access method ivf, by the name that pgvector''s DDL has';
    END IF;
    FOR class IN
        SELECT format('%I.%I', n.nspname, c.opcname) AS name, c.opcdefault, c.opcintype::regtype AS input,
            p.amopopr::regoperator AS operator, r.amproc::regprocedure AS support,
            obj_description(c.oid, 'pg_opclass') AS comment
        FROM pg_opclass c
        JOIN pg_am a ON a.oid = c.opcmethod AND a.amname = 'ivf'
        JOIN pg_namespace n ON n.oid = c.opcnamespace
        JOIN pg_amop p ON p.amopfamily = c.opcfamily AND p.amoplefttype = c.opcintype
        JOIN pg_amproc r ON r.amprocfamily = c.opcfamily AND r.amproclefttype = c.opcintype
        WHERE c.opcnamespace = own AND NOT EXISTS (
            SELECT FROM pg_opclass same JOIN pg_am b ON b.oid = same.opcmethod AND b.amname = 'ivfflat'
            WHERE (same.opcname, same.opcnamespace) = (c.opcname, own))
        ORDER BY c.oid
    LOOP
        EXECUTE format('CREATE OPERATOR CLASS %s %s FOR TYPE %s USING ivfflat AS '
            'OPERATOR 1 %s FOR ORDER BY pg_catalog.float_ops, FUNCTION 1 %s',
            class.name, CASE WHEN class.opcdefault THEN 'DEFAULT' END, class.input, class.operator, class.support);
        EXECUTE format('COMMENT ON OPERATOR CLASS %s USING ivfflat IS %L', class.name, class.comment);
    END LOOP;
END
$$;
COMMENT ON FUNCTION vectorgpu.create_ivfflat() IS
    'makes the access method ivfflat, which is ivf, with the same operator classes: for applications that have pgvector''s DDL';
