-- The tables of ci-cache in PostgreSQL 15 and later. Every statement can run again; words between @ are filled in by
-- `postgres/migrate.rs`. Function bodies are in the SQL-standard form, which binds names when they are created: a
-- restored dump has an empty search path.

CREATE TABLE IF NOT EXISTS ci (
    ci_id uuid NOT NULL PRIMARY KEY,
    tenant_id text COLLATE "C" NOT NULL,
    ci_type text COLLATE "C" NOT NULL,
    ci_subtype text COLLATE "C",
    ci_code text COLLATE "C" NOT NULL,
    ci_name text COLLATE "C" NOT NULL,
    ci_category text COLLATE "C",
    status text COLLATE "C",
    criticality smallint,
    location text COLLATE "C",
    owner text COLLATE "C",
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);

CREATE TABLE IF NOT EXISTS ci_ext (
    ci_id uuid NOT NULL PRIMARY KEY REFERENCES ci (ci_id) ON DELETE CASCADE,
    attributes jsonb NOT NULL DEFAULT '{}',
    tags jsonb NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- ASCII is folded by the database, everything else by a table that is the same everywhere.
CREATE OR REPLACE FUNCTION ci_fold(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
    WHEN octet_length(value) = char_length(value) THEN lower(value COLLATE "C")
    WHEN value COLLATE "C" !~ '[@FOLD_FROM@]' THEN lower(value COLLATE "C")
    ELSE translate(lower(value COLLATE "C"), '@FOLD_FROM@', '@FOLD_TO@')
END;

-- A keyword never has a control character, so a match cannot span two columns.
CREATE OR REPLACE FUNCTION ci_search_text(code text, name text, type text, subtype text, category text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ci_fold(coalesce(code, '') || chr(31) || coalesce(name, '') || chr(31) || coalesce(type, '')
    || chr(31) || coalesce(subtype, '') || chr(31) || coalesce(category, ''));

-- The text of a scalar in a document; nothing for null, arrays and objects.
CREATE OR REPLACE FUNCTION ci_scalar(value jsonb) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE jsonb_typeof(value)
    WHEN 'number' THEN trim_scale(value::numeric)::text
    WHEN 'string' THEN value #>> '{}'
    WHEN 'boolean' THEN value #>> '{}'
END;

ALTER TABLE ci ADD COLUMN IF NOT EXISTS search_text text COLLATE "C"
    GENERATED ALWAYS AS (ci_search_text(ci_code, ci_name, ci_type, ci_subtype, ci_category)) STORED;

CREATE UNIQUE INDEX IF NOT EXISTS ci_tenant_code ON ci (tenant_id COLLATE "C", ci_code COLLATE "C");
CREATE UNIQUE INDEX IF NOT EXISTS ci_tenant_id ON ci (tenant_id, ci_id);
-- deleted_at, so that the total of a list is counted in the index alone.
CREATE INDEX IF NOT EXISTS ci_newest ON ci (tenant_id COLLATE "C", created_at DESC, ci_id, deleted_at);
-- For lists of what was changed last.
CREATE INDEX IF NOT EXISTS ci_changed ON ci (tenant_id COLLATE "C", updated_at DESC, ci_id, deleted_at);
-- For the most critical CIs, by code.
CREATE INDEX IF NOT EXISTS ci_critical ON ci (tenant_id COLLATE "C", criticality, ci_code COLLATE "C", deleted_at);
CREATE INDEX IF NOT EXISTS ci_search_trigrams ON ci USING gin (search_text @TRIGRAMS@.gin_trgm_ops);

CREATE TABLE IF NOT EXISTS ci_relation (
    tenant_id text COLLATE "C" NOT NULL,
    from_id uuid NOT NULL,
    to_id uuid NOT NULL,
    rel_type text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, from_id, rel_type, to_id),
    FOREIGN KEY (tenant_id, from_id) REFERENCES ci (tenant_id, ci_id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, to_id) REFERENCES ci (tenant_id, ci_id) ON DELETE CASCADE,
    CHECK (from_id <> to_id)
);

CREATE INDEX IF NOT EXISTS ci_relation_in ON ci_relation (tenant_id, to_id, rel_type, from_id);

-- A table made by another program may allow what cannot be read back.
ALTER TABLE ci
    ALTER COLUMN tenant_id SET NOT NULL, ALTER COLUMN ci_code SET NOT NULL, ALTER COLUMN ci_name SET NOT NULL,
    ALTER COLUMN ci_type SET NOT NULL, ALTER COLUMN created_at SET DEFAULT now(),
    ALTER COLUMN created_at SET NOT NULL, ALTER COLUMN updated_at SET DEFAULT now(),
    ALTER COLUMN updated_at SET NOT NULL;
ALTER TABLE ci DROP CONSTRAINT IF EXISTS ci_criticality_range;
ALTER TABLE ci ADD CONSTRAINT ci_criticality_range CHECK (criticality BETWEEN 1 AND 5);
