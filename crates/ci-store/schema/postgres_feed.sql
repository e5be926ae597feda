-- The change feed of ci-cache in PostgreSQL 15 and later. Every statement can run again; words between @ are filled in
-- by `postgres/feed_schema.rs`.
--
-- Every program's writes are recorded, in the writer's own transaction. So the functions run with the rights of the
-- tables' owner, name every table with its schema and have a search path that no writer can bend; and they must never
-- fail, because a writer's statement would fail with them. Their plans are kept whatever the writer's session says:
-- planning them anew for every row takes ten times as long as running them.

-- Unlogged, which saves writers the log of it. A crash empties it, and with it `ci_alive`, whose loss ends
-- the epoch.
CREATE UNLOGGED TABLE IF NOT EXISTS ci_change (
    -- The transaction, and the order within it; never an order between transactions.
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- c: a row of ci, e: of ci_ext, r: of ci_relation, t: one of them was truncated.
    entity text COLLATE "C" NOT NULL,
    -- NULL: documents whose CI could not be seen.
    tenant_id text COLLATE "C",
    -- The CI.
    id uuid,
    -- Whether the CI came, went, was deleted softly, brought back or renamed: then its neighbours may see it.
    moved boolean NOT NULL DEFAULT false,
    -- The row before and after: NULL for no row, JSON null for one that cannot be told.
    old jsonb,
    new jsonb,
    PRIMARY KEY (xid, seq)
);

-- Its sequence is logged: a standby does not write down at once what an unlogged one begins with (seen with 15.18), so one that
-- is promoted soon has an empty page in its place, and refuses every write of everybody. An unlogged one may be in that
-- state, so it gives way to another. Numbers are compared within a transaction only, and none that has any is open here.
DO $do$
DECLARE
    numbers regclass;
BEGIN
    SELECT s.oid INTO numbers FROM pg_depend AS d JOIN pg_class AS s ON s.oid = d.objid
    WHERE d.classid = 'pg_class'::regclass AND d.refobjid = 'ci_change'::regclass AND s.relkind = 'S'
        AND s.relpersistence = 'u';
    IF numbers IS NOT NULL THEN
        ALTER TABLE ci_change ALTER COLUMN seq DROP IDENTITY;
        ALTER TABLE ci_change ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY;
        EXECUTE format('ALTER SEQUENCE %s SET LOGGED', pg_get_serial_sequence('ci_change', 'seq'));
    END IF;
END
$do$;

-- The functions pass over an update that leaves a row as it is. They compare bytes: for a column whose collation knows no
-- case, `IS DISTINCT FROM` does not tell `a` from `A`. And they do it themselves, because a column that a trigger's
-- condition names could no longer be altered.

-- One random name, gone after a crash. Commits that were acknowledged before the crash may be gone, too
-- (synchronous_commit = off), and their transaction numbers are used again. A feed that finds none makes one.
CREATE UNLOGGED TABLE IF NOT EXISTS ci_alive (
    one boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    uuid uuid NOT NULL DEFAULT gen_random_uuid()
);

CREATE OR REPLACE FUNCTION ci_change_ci() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $function$
#variable_conflict use_variable
DECLARE
    documents jsonb;
    before jsonb;
    after jsonb;
    same boolean := false;
BEGIN
    IF TG_OP = 'UPDATE' AND NOT (@CI_OLD@ *<> @CI_NEW@) THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        documents := @DOCUMENTS_OLD@;
        before := @IMAGE_OLD@;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        same := OLD.ci_id IS NOT DISTINCT FROM NEW.ci_id
            AND OLD.tenant_id COLLATE "C" IS NOT DISTINCT FROM NEW.tenant_id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        IF NOT same THEN
            documents := @DOCUMENTS_NEW@;
        END IF;
        after := @IMAGE_NEW@;
    END IF;
    IF same THEN
        INSERT INTO @SCHEMA@.ci_change (entity, tenant_id, id, moved, old, new)
        VALUES ('c', NEW.tenant_id, NEW.ci_id, OLD.ci_code COLLATE "C" IS DISTINCT FROM NEW.ci_code
            OR (OLD.deleted_at IS NULL) <> (NEW.deleted_at IS NULL), before, after);
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO @SCHEMA@.ci_change (entity, tenant_id, id, moved, old)
        VALUES ('c', OLD.tenant_id, OLD.ci_id, true, before);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO @SCHEMA@.ci_change (entity, tenant_id, id, moved, new)
        VALUES ('c', NEW.tenant_id, NEW.ci_id, true, after);
    END IF;
    RETURN NULL;
END
$function$;

-- A change of documents is one of their CI. Where the CI cannot be seen it is recorded without images: another
-- transaction may be making it.
CREATE OR REPLACE FUNCTION ci_change_ext() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $function$
#variable_conflict use_variable
DECLARE
    documents jsonb := '[{}, {}]';
    changed jsonb := '[{}, {}]';
BEGIN
    IF TG_OP = 'UPDATE' AND NOT (ROW(OLD.ci_id, OLD.tags, OLD.attributes)::record *<> ROW(NEW.ci_id, NEW.tags, NEW.attributes)::record) THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        documents := @EXT_OLD@;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        changed := @EXT_NEW@;
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.ci_id IS DISTINCT FROM NEW.ci_id THEN
        INSERT INTO @SCHEMA@.ci_change (entity, tenant_id, id, old, new)
        SELECT 'e', c.tenant_id, n.id, CASE WHEN c.ci_id IS NOT NULL THEN @IMAGE_C@ END,
            CASE WHEN c.ci_id IS NOT NULL THEN @IMAGE_NONE@ END
        FROM (SELECT OLD.ci_id AS id) AS n LEFT JOIN @SCHEMA@.ci AS c ON c.ci_id = n.id;
        documents := '[{}, {}]';
    END IF;
    INSERT INTO @SCHEMA@.ci_change (entity, tenant_id, id, old, new)
    SELECT 'e', c.tenant_id, n.id, CASE WHEN c.ci_id IS NOT NULL THEN @IMAGE_C@ END,
        CASE WHEN c.ci_id IS NOT NULL THEN @IMAGE_CHANGED@ END
    FROM (SELECT CASE WHEN TG_OP = 'DELETE' THEN OLD.ci_id ELSE NEW.ci_id END AS id) AS n
    LEFT JOIN @SCHEMA@.ci AS c ON c.ci_id = n.id;
    RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION ci_change_relation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $function$
#variable_conflict use_variable
DECLARE
    before jsonb;
    after jsonb;
BEGIN
    IF TG_OP = 'UPDATE' AND NOT (ROW(OLD.tenant_id, OLD.from_id, OLD.rel_type, OLD.to_id)::record
         *<> ROW(NEW.tenant_id, NEW.from_id, NEW.rel_type, NEW.to_id)::record) THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        before := jsonb_build_array(1, OLD.from_id, OLD.to_id, OLD.rel_type);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        after := jsonb_build_array(1, NEW.from_id, NEW.to_id, NEW.rel_type);
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id COLLATE "C" IS DISTINCT FROM NEW.tenant_id THEN
        INSERT INTO @SCHEMA@.ci_change (entity, tenant_id, old) VALUES ('r', OLD.tenant_id, before);
        before := NULL;
    END IF;
    INSERT INTO @SCHEMA@.ci_change (entity, tenant_id, old, new)
    VALUES ('r', CASE WHEN TG_OP = 'DELETE' THEN OLD.tenant_id ELSE NEW.tenant_id END, before, after);
    RETURN NULL;
END
$function$;

CREATE OR REPLACE FUNCTION ci_change_all() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $function$
BEGIN
    INSERT INTO @SCHEMA@.ci_change (entity) VALUES ('t');
    RETURN NULL;
END
$function$;

-- Triggers of one kind run in the order of their names, byte by byte. With a capital letter ours run before those of
-- foreign keys (RI_...): when a CI goes, its documents are still there.
DROP TRIGGER IF EXISTS "CI_change_rows" ON ci;
CREATE TRIGGER "CI_change_rows" AFTER INSERT OR UPDATE OR DELETE ON ci
    FOR EACH ROW EXECUTE FUNCTION ci_change_ci();
DROP TRIGGER IF EXISTS "CI_change_truncate" ON ci;
CREATE TRIGGER "CI_change_truncate" AFTER TRUNCATE ON ci
    FOR EACH STATEMENT EXECUTE FUNCTION ci_change_all();

DROP TRIGGER IF EXISTS "CI_change_rows" ON ci_ext;
CREATE TRIGGER "CI_change_rows" AFTER INSERT OR UPDATE OR DELETE ON ci_ext
    FOR EACH ROW EXECUTE FUNCTION ci_change_ext();
DROP TRIGGER IF EXISTS "CI_change_truncate" ON ci_ext;
CREATE TRIGGER "CI_change_truncate" AFTER TRUNCATE ON ci_ext
    FOR EACH STATEMENT EXECUTE FUNCTION ci_change_all();

DROP TRIGGER IF EXISTS "CI_change_rows" ON ci_relation;
CREATE TRIGGER "CI_change_rows" AFTER INSERT OR UPDATE OR DELETE ON ci_relation
    FOR EACH ROW EXECUTE FUNCTION ci_change_relation();
DROP TRIGGER IF EXISTS "CI_change_truncate" ON ci_relation;
CREATE TRIGGER "CI_change_truncate" AFTER TRUNCATE ON ci_relation
    FOR EACH STATEMENT EXECUTE FUNCTION ci_change_all();

-- Also for what replication applies, and for sessions that switch ordinary triggers off.
ALTER TABLE ci
    ENABLE ALWAYS TRIGGER "CI_change_rows", ENABLE ALWAYS TRIGGER "CI_change_truncate";
ALTER TABLE ci_ext
    ENABLE ALWAYS TRIGGER "CI_change_rows", ENABLE ALWAYS TRIGGER "CI_change_truncate";
ALTER TABLE ci_relation
    ENABLE ALWAYS TRIGGER "CI_change_rows", ENABLE ALWAYS TRIGGER "CI_change_truncate";
