-- Language models. Which there are is a table, so it is the same in every session, after a restart and on a standby, and is
-- dumped; a session reads a model's file when it first needs it. Loading is for those to whom EXECUTE on load_model was granted,
-- and so is calling: nothing here is for PUBLIC.

CREATE TABLE vectorgpu.registered_models (
    name text PRIMARY KEY CHECK (name <> ''),
    path text NOT NULL,
    options jsonb NOT NULL,
    kind text NOT NULL CHECK (kind IN ('text', 'embedding')),
    architecture text NOT NULL,
    parameters int8 NOT NULL,
    bytes int8 NOT NULL,
    files jsonb NOT NULL,
    loaded_by name NOT NULL DEFAULT session_user,
    loaded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE vectorgpu.registered_models IS
    'models that load_model has registered: where their files are, below vectorgpu.model_dir, and what those were then';
SELECT pg_catalog.pg_extension_config_dump('vectorgpu.registered_models', '');

CREATE FUNCTION vectorgpu.read_model(name text, path text, options jsonb,
    OUT kind text, OUT architecture text, OUT parameters int8, OUT bytes int8, OUT files jsonb) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'read_model_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 10000000 ROWS 1;
COMMENT ON FUNCTION vectorgpu.read_model(text, text, jsonb) IS
    'reads and checks the files of a model, keeps the model in this session, and says what it is; load_model calls it';
REVOKE ALL ON FUNCTION vectorgpu.read_model(text, text, jsonb) FROM PUBLIC;

CREATE FUNCTION vectorgpu.forget_model(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'forget_model_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION vectorgpu.forget_model(text) IS
    'frees what this session holds of a model, which stays registered; the next call reads its files again';
REVOKE ALL ON FUNCTION vectorgpu.forget_model(text) FROM PUBLIC;

CREATE FUNCTION vectorgpu.load_model(name text, path text, options jsonb DEFAULT '{}') RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000000 SECURITY DEFINER SET search_path = pg_catalog AS
$$
DECLARE
    model record;
    present vectorgpu.registered_models;
BEGIN
    IF name IS NULL OR path IS NULL OR options IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
            MESSAGE = 'name, path and options of a model must not be null';
    ELSIF name = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the name of a model must not be empty';
    END IF;
    SELECT * INTO present FROM vectorgpu.registered_models AS r WHERE r.name = load_model.name;
    IF present.path <> path OR present.options <> options THEN
        RAISE EXCEPTION USING ERRCODE = 'duplicate_object', MESSAGE = format('model "%s" exists', name),
            DETAIL = 'It has another path or other options.', HINT = 'Unload it first, or choose another name.';
    END IF;
    SELECT * INTO model FROM vectorgpu.read_model(name, path, options);
    INSERT INTO vectorgpu.registered_models AS r (name, path, options, kind, architecture, parameters, bytes, files)
    VALUES (name, path, options, model.kind, model.architecture, model.parameters, model.bytes, model.files)
    ON CONFLICT ON CONSTRAINT registered_models_pkey DO UPDATE
        SET kind = EXCLUDED.kind, architecture = EXCLUDED.architecture, parameters = EXCLUDED.parameters,
            bytes = EXCLUDED.bytes, files = EXCLUDED.files, loaded_by = EXCLUDED.loaded_by, loaded_at = EXCLUDED.loaded_at
        WHERE r.path = EXCLUDED.path AND r.options = EXCLUDED.options;
    IF NOT FOUND THEN
        -- Another session has registered it meanwhile.
        PERFORM vectorgpu.forget_model(name);
        RAISE EXCEPTION USING ERRCODE = 'duplicate_object', MESSAGE = format('model "%s" exists', name),
            DETAIL = 'It has another path or other options.', HINT = 'Unload it first, or choose another name.';
    END IF;
END
$$;
COMMENT ON FUNCTION vectorgpu.load_model(text, text, jsonb) IS
    'registers the model in a GGUF file, or a folder of safetensors files, below vectorgpu.model_dir, and reads it into this session';
REVOKE ALL ON FUNCTION vectorgpu.load_model(text, text, jsonb) FROM PUBLIC;

CREATE FUNCTION vectorgpu.unload_model(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog AS
$$
BEGIN
    DELETE FROM vectorgpu.registered_models AS r WHERE r.name = unload_model.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = format('model "%s" does not exist', name);
    END IF;
    PERFORM vectorgpu.forget_model(name);
END
$$;
COMMENT ON FUNCTION vectorgpu.unload_model(text) IS
    'removes a registered model; other sessions free what they hold of it when they next look';
REVOKE ALL ON FUNCTION vectorgpu.unload_model(text) FROM PUBLIC;

CREATE FUNCTION vectorgpu.session_models(OUT name text, OUT device text, OUT layers int4, OUT gpu_layers int4,
    OUT context int4, OUT dims int4, OUT mapped bool, OUT cpu_bytes int8, OUT gpu_bytes int8) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'session_models_wrapper' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION vectorgpu.session_models() IS 'models that this session has read; see the view vectorgpu.models';

CREATE VIEW vectorgpu.models AS
    SELECT r.name, r.path, r.options, r.kind, r.architecture, r.parameters, r.bytes, r.loaded_by, r.loaded_at,
        s.name IS NOT NULL AS in_session, s.device, s.layers, s.gpu_layers, s.context, s.dims, s.mapped, s.cpu_bytes, s.gpu_bytes
    FROM vectorgpu.registered_models AS r LEFT JOIN vectorgpu.session_models() AS s USING (name);
COMMENT ON VIEW vectorgpu.models IS
    'every registered model, and what this session holds of it: device, layers on the GPU, context, dimensions, bytes';
GRANT SELECT ON vectorgpu.registered_models, vectorgpu.models TO PUBLIC;

CREATE FUNCTION vectorgpu.generate(prompt text, model text DEFAULT NULL, max_tokens int4 DEFAULT NULL,
    temperature float8 DEFAULT 0, seed int8 DEFAULT NULL, stop text[] DEFAULT NULL, options jsonb DEFAULT '{}') RETURNS text
    AS 'MODULE_PATHNAME', 'generate_wrapper' LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000000;
COMMENT ON FUNCTION vectorgpu.generate(text, text, int4, float8, int8, text[], jsonb) IS
    'what a model answers to a prompt; with the option raw, how it continues the text';

CREATE FUNCTION vectorgpu.generate_many(prompts text[], model text DEFAULT NULL, max_tokens int4 DEFAULT NULL,
    temperature float8 DEFAULT 0, seed int8 DEFAULT NULL, stop text[] DEFAULT NULL, options jsonb DEFAULT '{}') RETURNS text[]
    AS 'MODULE_PATHNAME', 'generate_many_wrapper' LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000000;
COMMENT ON FUNCTION vectorgpu.generate_many(text[], text, int4, float8, int8, text[], jsonb) IS
    'what a model answers to each of several prompts, which are read and answered side by side';

CREATE FUNCTION vectorgpu.generate_stream(prompt text, model text DEFAULT NULL, max_tokens int4 DEFAULT NULL,
    temperature float8 DEFAULT 0, seed int8 DEFAULT NULL, stop text[] DEFAULT NULL, options jsonb DEFAULT '{}')
    RETURNS SETOF text
    AS 'MODULE_PATHNAME', 'generate_stream_wrapper' LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000000 ROWS 256;
COMMENT ON FUNCTION vectorgpu.generate_stream(text, text, int4, float8, int8, text[], jsonb) IS
    'generate, piece by piece as it is written, when it is called in a SELECT list';

CREATE FUNCTION vectorgpu.generate_tokens(prompt text, model text DEFAULT NULL, max_tokens int4 DEFAULT NULL,
    temperature float8 DEFAULT 0, seed int8 DEFAULT NULL, stop text[] DEFAULT NULL, options jsonb DEFAULT '{}',
    OUT number int4, OUT token int4, OUT piece text, OUT logprob float4, OUT top_logprobs jsonb) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'generate_tokens_wrapper' LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000000 ROWS 256;
COMMENT ON FUNCTION vectorgpu.generate_tokens(text, text, int4, float8, int8, text[], jsonb) IS
    'generate, token by token with log-probabilities: of the token, and with the option top_logprobs of the likeliest others';

CREATE FUNCTION vectorgpu.chat(messages jsonb, model text DEFAULT NULL, max_tokens int4 DEFAULT NULL,
    temperature float8 DEFAULT 0, seed int8 DEFAULT NULL, stop text[] DEFAULT NULL, options jsonb DEFAULT '{}') RETURNS text
    AS 'MODULE_PATHNAME', 'chat_wrapper' LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000000;
COMMENT ON FUNCTION vectorgpu.chat(jsonb, text, int4, float8, int8, text[], jsonb) IS
    'what a model answers to a conversation: an array of objects with role and content';

CREATE FUNCTION vectorgpu.embed(content text, model text DEFAULT NULL, options jsonb DEFAULT '{}') RETURNS vector
    AS 'MODULE_PATHNAME', 'embed_wrapper' LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1000000;
COMMENT ON FUNCTION vectorgpu.embed(text, text, jsonb) IS 'the embedding of a text, a vector of length 1';

CREATE FUNCTION vectorgpu.embed(contents text[], model text DEFAULT NULL, options jsonb DEFAULT '{}') RETURNS vector[]
    AS 'MODULE_PATHNAME', 'embed_many_wrapper' LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000000;
COMMENT ON FUNCTION vectorgpu.embed(text[], text, jsonb) IS 'the embeddings of several texts, computed side by side';

CREATE FUNCTION vectorgpu.tokenize(content text, model text DEFAULT NULL) RETURNS int4[]
    AS 'MODULE_PATHNAME', 'tokenize_wrapper' LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION vectorgpu.tokenize(text, text) IS
    'the tokens of a text as a user''s words are read: names of special tokens are text';

CREATE FUNCTION vectorgpu.detokenize(tokens int4[], model text DEFAULT NULL) RETURNS text
    AS 'MODULE_PATHNAME', 'detokenize_wrapper' LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION vectorgpu.detokenize(int4[], text) IS 'the text that tokens stand for';

CREATE FUNCTION vectorgpu.count_tokens(content text, model text DEFAULT NULL) RETURNS int4
    AS 'MODULE_PATHNAME', 'count_tokens_wrapper' LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION vectorgpu.count_tokens(text, text) IS 'how many tokens tokenize would give';

CREATE FUNCTION vectorgpu.apply_template(messages jsonb, model text DEFAULT NULL, template text DEFAULT NULL,
    add_generation_prompt bool DEFAULT true) RETURNS text
    AS 'MODULE_PATHNAME', 'apply_template_wrapper' LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION vectorgpu.apply_template(jsonb, text, text, bool) IS
    'the prompt that a conversation becomes: by the model''s own template, a built-in one, or the text of one';

REVOKE ALL ON FUNCTION
    vectorgpu.generate(text, text, int4, float8, int8, text[], jsonb),
    vectorgpu.generate_many(text[], text, int4, float8, int8, text[], jsonb),
    vectorgpu.generate_stream(text, text, int4, float8, int8, text[], jsonb),
    vectorgpu.generate_tokens(text, text, int4, float8, int8, text[], jsonb),
    vectorgpu.chat(jsonb, text, int4, float8, int8, text[], jsonb),
    vectorgpu.embed(text, text, jsonb), vectorgpu.embed(text[], text, jsonb),
    vectorgpu.tokenize(text, text), vectorgpu.detokenize(int4[], text), vectorgpu.count_tokens(text, text),
    vectorgpu.apply_template(jsonb, text, text, bool) FROM PUBLIC;
