-- Tables whose partitions are on several servers: which those are, and a search of all of them at the same time.
-- Each server searches its own rows through its own index; here answers are merged. All runs with the caller's rights.
-- Connections are dblink's, found when a search runs, because nothing else needs that extension.

CREATE FUNCTION vectorgpu.search_rows(relation regclass, column_name text, queries vector[], k int4,
    metric text DEFAULT 'l2', probes int4 DEFAULT 0, columns text[] DEFAULT NULL, index_name text DEFAULT NULL,
    labels text[] DEFAULT NULL, OUT query int4, OUT rank int4, OUT data jsonb, OUT distance float8)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED COST 10000 ROWS 1000 SET search_path = pg_catalog AS
$$
DECLARE
    wanted text := CASE metric WHEN 'l2' THEN '<->' WHEN 'inner_product' THEN '<#>' WHEN 'cosine' THEN '<=>'
                       WHEN 'l1' THEN '<+>' END;
    attribute int2;
    found_indexes regclass[];
    list text;
BEGIN
    IF relation IS NULL OR column_name IS NULL OR queries IS NULL OR k IS NULL OR metric IS NULL OR probes IS NULL THEN
        RETURN;
    ELSIF wanted IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('unknown metric "%s"', metric),
            HINT = 'Use one of l2, inner_product, cosine and l1.';
    ELSIF cardinality(labels) <> cardinality(columns) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('%s labels for %s columns', cardinality(labels), cardinality(columns));
    END IF;
    SELECT a.attnum INTO attribute FROM pg_attribute AS a
    WHERE a.attrelid = relation AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped;
    IF attribute IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_column',
            MESSAGE = format('column "%s" of relation "%s" does not exist', column_name,
                (SELECT c.relname FROM pg_class AS c WHERE c.oid = relation));
    END IF;
    SELECT array_agg(i.indexrelid::regclass ORDER BY i.indexrelid) INTO found_indexes
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS m ON m.oid = c.relam
        JOIN pg_opclass AS o ON o.oid = i.indclass[0]
    WHERE i.indrelid = relation AND i.indkey[0] = attribute AND i.indisvalid AND i.indpred IS NULL AND c.relkind = 'i'
        AND m.amname = 'ivf' AND (index_name IS NULL OR c.relname = index_name)
        AND EXISTS (SELECT FROM pg_amop AS p JOIN pg_operator AS q ON q.oid = p.amopopr
                    WHERE p.amopfamily = o.opcfamily AND p.amoppurpose = 'o' AND q.oprname = wanted);
    IF found_indexes IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_object',
            MESSAGE = format('relation %s has no ivf index on column "%s" for metric %s', relation, column_name, metric)
                || coalesce(' of the name "' || index_name || '"', ''),
            HINT = 'An index of another metric, of an expression, of a part of the rows, or that is not valid does not serve.';
    ELSIF cardinality(found_indexes) > 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('relation %s has several ivf indexes on column "%s" for metric %s', relation, column_name, metric),
            DETAIL = format('They are %s.', array_to_string(found_indexes, ', ')), HINT = 'Name one as index_name.';
    END IF;
    IF columns IS NULL THEN
        SELECT array_agg(a.attname ORDER BY a.attnum) INTO columns FROM pg_attribute AS a
        WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attnum <> attribute;
    END IF;
    SELECT string_agg(format('t.%I AS %I', c.name, coalesce(c.label, c.name)), ', ') INTO list
    FROM unnest(columns, labels) AS c (name, label);
    -- A subquery for each row: a join could be planned as one that reads the whole table.
    RETURN QUERY EXECUTE format(
            'SELECT found.query, found.rank, %s, found.distance FROM vectorgpu.search($1, $2, $3, $4) AS found',
            coalesce('(SELECT to_jsonb(r.*) FROM (SELECT ' || list
                    || format(' FROM ONLY %s AS t WHERE t.ctid = found.tid) AS r)', relation),
                '''{}''::jsonb'))
        USING found_indexes[1], queries, k, probes;
END
$$;
COMMENT ON FUNCTION vectorgpu.search_rows(regclass, text, vector[], int4, text, int4, text[], text, text[]) IS
    'for each of the queries the k nearest rows of a table with their columns, through its ivf index; labels rename columns';

CREATE FUNCTION vectorgpu.shards(relation regclass, OUT shard regclass, OUT server name) RETURNS SETOF record
    LANGUAGE sql STABLE STRICT PARALLEL SAFE ROWS 10 SET search_path = pg_catalog AS
$$
    WITH RECURSIVE part AS (
        SELECT relation::oid AS oid
        UNION
        SELECT i.inhrelid FROM pg_inherits AS i JOIN part ON i.inhparent = part.oid WHERE NOT i.inhdetachpending
    )
    SELECT c.oid::regclass, s.srvname
    FROM part JOIN pg_class AS c ON c.oid = part.oid
        LEFT JOIN pg_foreign_table AS f ON f.ftrelid = c.oid LEFT JOIN pg_foreign_server AS s ON s.oid = f.ftserver
    -- A table without rows, as a parent mostly is, needs no index.
    WHERE c.relkind = 'f' OR c.relkind IN ('r', 'm') AND pg_relation_size(c.oid) > 0
    ORDER BY s.srvname IS NOT NULL, c.oid
$$;
COMMENT ON FUNCTION vectorgpu.shards(regclass) IS
    'the tables that hold the rows of a partitioned table: here (server is NULL), or on the servers of foreign tables';

CREATE FUNCTION vectorgpu.search_shards(relation regclass, column_name text, queries vector[], k int4,
    metric text DEFAULT 'l2', probes int4 DEFAULT 0, columns text[] DEFAULT NULL, index_name text DEFAULT NULL,
    leave_out boolean DEFAULT false, keep_open boolean DEFAULT false,
    OUT query int4, OUT rank int4, OUT shard regclass, OUT data jsonb, OUT distance float8)
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 100000 ROWS 1000 SET search_path = pg_catalog AS
$$
DECLARE
    dblink text := vectorgpu.dblink_schema();
    -- Written once: that takes as long as searching for some of them.
    query_list text := queries;
    part record;
    statement text;
    -- Of the shards that will answer; no connection for one that is here.
    shards regclass[] := '{}';
    connections text[] := '{}';
    statements text[] := '{}';
BEGIN
    IF relation IS NULL OR column_name IS NULL OR queries IS NULL OR k IS NULL OR metric IS NULL OR probes IS NULL THEN
        RETURN;
    END IF;
    PERFORM vectorgpu.check_shards(relation, dblink IS NOT NULL);
    columns := coalesce(columns, ARRAY(
        SELECT a.attname::text FROM pg_attribute AS a
        WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> column_name ORDER BY a.attnum));
    BEGIN
        FOR part IN
            -- One that is kept open serves whoever would open the same.
            SELECT s.shard, s.server,
                format('vectorgpu shard %s %s', s.shard::oid, left(encode(sha256(convert_to(
                    concat(current_user, f.srvoptions, m.options), getdatabaseencoding())), 'hex'), 32)) AS connection
            FROM vectorgpu.shards(relation) WITH ORDINALITY AS s (shard, server, number)
                LEFT JOIN pg_foreign_server AS f ON f.srvname = s.server,
                LATERAL (SELECT array_agg(u.umoptions::text ORDER BY u.umuser)
                         FROM pg_user_mappings AS u WHERE u.srvid = f.oid) AS m (options)
            ORDER BY s.number
        LOOP
            SELECT format(
                       'SELECT query, rank, data, distance FROM vectorgpu.search_rows(%L, %L, %L, %s, %L, %s, %L, %L, %L)',
                       p.name, p.column_names[1], query_list, k, metric, probes, p.column_names[2:], index_name, columns)
                INTO statement FROM vectorgpu.shard_names(part.shard, column_name || columns) AS p;
            IF part.server IS NULL THEN
                part.connection := NULL;
            ELSIF NOT vectorgpu.ask_shard(dblink, part.connection, part.server, part.shard, statement, leave_out) THEN
                CONTINUE;
            END IF;
            shards := shards || part.shard;
            connections := connections || part.connection;
            statements := statements || statement;
        END LOOP;
        RETURN QUERY
            SELECT best.query, best.place::int4, best.shard, best.data, best.distance
            FROM (SELECT answer.query, s.shard, answer.data, answer.distance,
                      row_number() OVER (PARTITION BY answer.query ORDER BY answer.distance, s.number, answer.rank) AS place
                  FROM unnest(shards, connections, statements) WITH ORDINALITY AS s (shard, connection, statement, number),
                      vectorgpu.shard_answer(dblink, s.connection, s.shard, s.statement, leave_out) AS answer) AS best
            WHERE best.place <= k ORDER BY best.query, best.place;
        IF keep_open IS NOT TRUE THEN
            PERFORM vectorgpu.close_shards();
        END IF;
    EXCEPTION WHEN query_canceled OR OTHERS THEN
        PERFORM vectorgpu.close_shards();
        RAISE;
    END;
END
$$;
COMMENT ON FUNCTION vectorgpu.search_shards(regclass, text, vector[], int4, text, int4, text[], text, boolean, boolean) IS
    'for each of the queries the k nearest rows of a table with partitions on several servers, which search at the same time';

CREATE FUNCTION vectorgpu.dblink_schema() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog AS
$$
    SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
    WHERE e.extname = 'dblink'
$$;
COMMENT ON FUNCTION vectorgpu.dblink_schema() IS
    'part of search_shards: the schema of the extension dblink, NULL where it is not installed';

CREATE FUNCTION vectorgpu.check_shards(relation regclass, has_dblink boolean) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog AS
$$
DECLARE
    short_name name := (SELECT c.relname FROM pg_class AS c WHERE c.oid = relation);
BEGIN
    -- Who asks the shards themselves goes past what a query of the table would be held to.
    IF NOT has_table_privilege(relation, 'SELECT') THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('permission denied for table %s', short_name);
    ELSIF row_security_active(relation) AND EXISTS (SELECT FROM vectorgpu.shards(relation) AS s WHERE s.shard <> relation) THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
            MESSAGE = format('cannot search table "%s", which has row-level security', short_name),
            HINT = 'ORDER BY a distance with a LIMIT respects its policies.';
    ELSIF NOT has_dblink AND EXISTS (SELECT FROM vectorgpu.shards(relation) AS s WHERE s.server IS NOT NULL) THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = 'extension "dblink" is not installed in this database',
            HINT = 'The shards are asked through it: CREATE EXTENSION dblink.';
    END IF;
END
$$;
COMMENT ON FUNCTION vectorgpu.check_shards(regclass, boolean) IS
    'part of search_shards: an error where the session may not ask a table''s shards, or cannot';

CREATE FUNCTION vectorgpu.shard_names(shard regclass, names text[], OUT name text, OUT column_names text[])
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog AS
$$
DECLARE
    missing text;
    wrapper name;
BEGIN
    SELECT w.fdwname INTO wrapper FROM pg_foreign_table AS f JOIN pg_foreign_server AS s ON s.oid = f.ftserver
        JOIN pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw WHERE f.ftrelid = shard;
    IF wrapper <> 'postgres_fdw' THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
            MESSAGE = format('foreign table %s is not one of postgres_fdw', shard);
    END IF;
    SELECT format('%I.%I', coalesce(o.schema_name, n.nspname), coalesce(o.table_name, c.relname)) INTO shard_names.name
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace LEFT JOIN pg_foreign_table AS f ON f.ftrelid = c.oid,
        LATERAL (SELECT max(option_value) FILTER (WHERE option_name = 'schema_name'),
                     max(option_value) FILTER (WHERE option_name = 'table_name')
                 FROM pg_options_to_table(f.ftoptions)) AS o (schema_name, table_name)
    WHERE c.oid = shard;
    SELECT array_agg(coalesce((SELECT option_value FROM pg_options_to_table(a.attfdwoptions) WHERE option_name = 'column_name'),
                         w.wanted) ORDER BY w.number),
        min(w.wanted) FILTER (WHERE a.attname IS NULL)
    INTO column_names, missing
    FROM unnest(names) WITH ORDINALITY AS w (wanted, number)
        LEFT JOIN pg_attribute AS a ON a.attrelid = shard AND a.attname = w.wanted AND a.attnum > 0 AND NOT a.attisdropped;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_column',
            MESSAGE = format('column "%s" of relation "%s" does not exist', missing,
                (SELECT c.relname FROM pg_class AS c WHERE c.oid = shard));
    END IF;
END
$$;
COMMENT ON FUNCTION vectorgpu.shard_names(regclass, text[]) IS
    'part of search_shards: what a shard''s table and columns are called on its server';

CREATE FUNCTION vectorgpu.ask_shard(dblink text, connection text, server name, shard regclass, statement text,
    leave_out boolean) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog AS
$$
DECLARE
    sent int4;
    is_open boolean;
    message text;
    facts text;
BEGIN
    EXECUTE format('SELECT $1 = ANY (%s.dblink_get_connections())', dblink) INTO is_open USING connection;
    IF is_open THEN
        -- Looking whether it is busy reads what has come: a last message, and then that the other end is closed.
        EXECUTE format('SELECT CASE %1$s.dblink_is_busy($1) + %1$s.dblink_is_busy($1) '
                       'WHEN 0 THEN %1$s.dblink_send_query($1, $2) END', dblink)
            INTO sent USING connection, statement;
        IF sent = 1 THEN
            RETURN true;
        END IF;
        EXECUTE format('SELECT %s.dblink_disconnect($1)', dblink) USING connection;
    END IF;
    EXECUTE format('SELECT %s.dblink_connect($1, $2)', dblink) USING connection, server::text;
    EXECUTE format('SELECT %s.dblink_send_query($1, $2)', dblink) INTO sent USING connection, statement;
    IF sent <> 1 THEN
        EXECUTE format('SELECT %s.dblink_error_message($1)', dblink) INTO message USING connection;
        RAISE EXCEPTION USING ERRCODE = 'connection_failure', MESSAGE = rtrim(message, E'\n');
    END IF;
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, facts = PG_EXCEPTION_DETAIL;
    PERFORM vectorgpu.shard_failed(shard, leave_out, SQLSTATE, message, facts, '');
    RETURN false;
END
$$;
COMMENT ON FUNCTION vectorgpu.ask_shard(text, text, name, regclass, text, boolean) IS
    'part of search_shards: connects to a shard''s server and sends a statement, and says whether that was done';

CREATE FUNCTION vectorgpu.shard_answer(dblink text, connection text, shard regclass, statement text, leave_out boolean,
    OUT query int4, OUT rank int4, OUT data jsonb, OUT distance float8) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 1000 SET search_path = pg_catalog AS
$$
DECLARE
    busy int4;
    message text;
    facts text;
    advice text;
BEGIN
    IF connection IS NULL THEN
        RETURN QUERY EXECUTE statement;
        RETURN;
    END IF;
    -- Before 17 dblink_get_result cannot be cancelled while it waits; a sleep can.
    LOOP
        EXECUTE format('SELECT %s.dblink_is_busy($1)', dblink) INTO busy USING connection;
        EXIT WHEN busy = 0;
        PERFORM pg_sleep(0.001);
    END LOOP;
    BEGIN
        RETURN QUERY EXECUTE format(
            'SELECT * FROM %s.dblink_get_result($1) AS answer (query int4, rank int4, data jsonb, distance float8)', dblink)
            USING connection;
        -- The end of the answer, without which nothing else can be sent.
        EXECUTE format(
            'SELECT FROM %s.dblink_get_result($1) AS answer (query int4, rank int4, data jsonb, distance float8)', dblink)
            USING connection;
    EXCEPTION WHEN query_canceled OR OTHERS THEN
        GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, facts = PG_EXCEPTION_DETAIL, advice = PG_EXCEPTION_HINT;
        PERFORM vectorgpu.shard_failed(shard, leave_out, SQLSTATE, message, facts, advice);
    END;
END
$$;
COMMENT ON FUNCTION vectorgpu.shard_answer(text, text, regclass, text, boolean) IS
    'part of search_shards: waits for the answer of a shard';

CREATE FUNCTION vectorgpu.shard_failed(shard regclass, leave_out boolean, state text, message text, facts text, advice text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog AS
$$
DECLARE
    -- No connection, one that broke, or a server that shuts down: not what another statement would mend.
    is_down boolean := state LIKE '08%' OR state LIKE '57P%';
BEGIN
    facts := format('Server "%s".', (SELECT s.srvname FROM pg_foreign_table AS f JOIN pg_foreign_server AS s ON s.oid = f.ftserver
                                     WHERE f.ftrelid = shard)) || coalesce(' ' || nullif(facts, ''), '');
    IF is_down AND leave_out THEN
        RAISE WARNING USING ERRCODE = state, MESSAGE = format('shard %s is left out: %s', shard, message), DETAIL = facts;
    ELSIF is_down OR advice <> '' THEN
        RAISE EXCEPTION USING ERRCODE = state, MESSAGE = format('shard %s: %s', shard, message), DETAIL = facts,
            HINT = coalesce(nullif(advice, ''), 'With leave_out the other shards answer.');
    ELSE
        RAISE EXCEPTION USING ERRCODE = state, MESSAGE = format('shard %s: %s', shard, message), DETAIL = facts;
    END IF;
END
$$;
COMMENT ON FUNCTION vectorgpu.shard_failed(regclass, boolean, text, text, text, text) IS
    'part of search_shards: an error that names the shard, or a warning where shards that are down are left out';

CREATE FUNCTION vectorgpu.close_shards() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog AS
$$
DECLARE
    dblink text := vectorgpu.dblink_schema();
    names text[];
    connection text;
BEGIN
    IF dblink IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('SELECT %s.dblink_get_connections()', dblink) INTO names;
    FOREACH connection IN ARRAY coalesce(names, '{}') LOOP
        CONTINUE WHEN connection NOT LIKE 'vectorgpu shard %';
        EXECUTE format('SELECT CASE %1$s.dblink_is_busy($1) WHEN 1 THEN %1$s.dblink_cancel_query($1) END', dblink)
            USING connection;
        EXECUTE format('SELECT %s.dblink_disconnect($1)', dblink) USING connection;
    END LOOP;
END
$$;
COMMENT ON FUNCTION vectorgpu.close_shards() IS
    'closes the connections to shards that searches of this session have kept open';
