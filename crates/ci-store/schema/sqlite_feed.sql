-- The change feed of ci-cache in SQLite. Every statement can run again; words between @ are filled in by
-- `sqlite/feed_schema.rs`.
--
-- Every program's writes are recorded, in the writer's own transaction. Nothing here may fail, because a writer's
-- statement would fail with it; so every value is cast to text before it becomes part of an image.

CREATE TABLE IF NOT EXISTS ci_change (
    -- The order of commits: there is one writer at a time. AUTOINCREMENT, so that no number is used again.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    -- What tells this row from one that a restored backup has in its place.
    mark INTEGER NOT NULL DEFAULT (random()),
    -- Seconds since 1970.
    at INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER)),
    -- c: a row of ci, e: of ci_ext, r: of ci_relation, s: the beginning.
    entity TEXT NOT NULL,
    tenant_id TEXT,
    -- The CI.
    id TEXT,
    -- Whether the CI came, went, was deleted softly, brought back or renamed: then its neighbours may see it.
    moved INTEGER NOT NULL DEFAULT 0,
    -- The row before and after; NULL for no row.
    old TEXT,
    new TEXT
);

-- There is always a newest row, whose mark can be remembered.
INSERT INTO ci_change (entity) SELECT 's' WHERE NOT EXISTS (SELECT 1 FROM ci_change);

DROP TRIGGER IF EXISTS ci_change_insert;
CREATE TRIGGER ci_change_insert AFTER INSERT ON ci BEGIN
    INSERT INTO ci_change (entity, tenant_id, id, moved, new)
    VALUES ('c', CAST(NEW.tenant_id AS TEXT), CAST(NEW.ci_id AS TEXT), 1, @IMAGE_NEW@);
END;

-- INSERT OR REPLACE fires no trigger for the rows that it displaces. Nor can a trigger know that this is one; so an
-- insert that does something else about a conflict records a deletion that does not happen, which does no harm.
DROP TRIGGER IF EXISTS ci_change_displace;
CREATE TRIGGER ci_change_displace BEFORE INSERT ON ci BEGIN
    INSERT INTO ci_change (entity, tenant_id, id, moved, old)
    SELECT 'c', CAST(c.tenant_id AS TEXT), CAST(c.ci_id AS TEXT), 1, @IMAGE_C@ FROM ci AS c WHERE @CONFLICT_CI@;
END;

DROP TRIGGER IF EXISTS ci_change_update;
CREATE TRIGGER ci_change_update AFTER UPDATE ON ci
WHEN OLD.ci_id COLLATE BINARY IS NEW.ci_id AND OLD.tenant_id COLLATE BINARY IS NEW.tenant_id AND (@CI_DIFFERS@)
BEGIN
    INSERT INTO ci_change (entity, tenant_id, id, moved, old, new)
    VALUES ('c', CAST(NEW.tenant_id AS TEXT), CAST(NEW.ci_id AS TEXT),
        OLD.ci_code COLLATE BINARY IS NOT NEW.ci_code OR (OLD.deleted_at IS NULL) IS NOT (NEW.deleted_at IS NULL),
        @IMAGE_OLD@, @IMAGE_NEW@);
END;

DROP TRIGGER IF EXISTS ci_change_move;
CREATE TRIGGER ci_change_move AFTER UPDATE ON ci
WHEN OLD.ci_id COLLATE BINARY IS NOT NEW.ci_id OR OLD.tenant_id COLLATE BINARY IS NOT NEW.tenant_id
BEGIN
    INSERT INTO ci_change (entity, tenant_id, id, moved, old)
    VALUES ('c', CAST(OLD.tenant_id AS TEXT), CAST(OLD.ci_id AS TEXT), 1, @IMAGE_OLD@);
    INSERT INTO ci_change (entity, tenant_id, id, moved, new)
    VALUES ('c', CAST(NEW.tenant_id AS TEXT), CAST(NEW.ci_id AS TEXT), 1, @IMAGE_NEW@);
END;

DROP TRIGGER IF EXISTS ci_change_supplant;
CREATE TRIGGER ci_change_supplant BEFORE UPDATE ON ci
WHEN @KEYS_CI_DIFFER@
BEGIN
    INSERT INTO ci_change (entity, tenant_id, id, moved, old)
    SELECT 'c', CAST(c.tenant_id AS TEXT), CAST(c.ci_id AS TEXT), 1, @IMAGE_C@ FROM ci AS c
    WHERE (@CONFLICT_CI@) AND c.ci_id COLLATE BINARY IS NOT OLD.ci_id;
END;

-- Before the row goes, and before a foreign key takes its documents.
DROP TRIGGER IF EXISTS ci_change_delete;
CREATE TRIGGER ci_change_delete BEFORE DELETE ON ci BEGIN
    INSERT INTO ci_change (entity, tenant_id, id, moved, old)
    VALUES ('c', CAST(OLD.tenant_id AS TEXT), CAST(OLD.ci_id AS TEXT), 1, @IMAGE_OLD@);
END;

-- A change of documents is one of their CI. Its id is in lower case, by its check; that of the documents need not be, and where their
-- column knows no case they are the CI's all the same.
DROP TRIGGER IF EXISTS ci_change_ext_insert;
CREATE TRIGGER ci_change_ext_insert AFTER INSERT ON ci_ext BEGIN
    INSERT INTO ci_change (entity, tenant_id, id, old, new)
    SELECT 'e', CAST(c.tenant_id AS TEXT), CAST(c.ci_id AS TEXT), @IMAGE_C_NONE@, @IMAGE_C_NEW@
    FROM ci AS c WHERE c.ci_id IN (NEW.ci_id, lower(NEW.ci_id));
END;

DROP TRIGGER IF EXISTS ci_change_ext_displace;
CREATE TRIGGER ci_change_ext_displace BEFORE INSERT ON ci_ext BEGIN
    INSERT INTO ci_change (entity, tenant_id, id, old, new)
    SELECT 'e', CAST(c.tenant_id AS TEXT), CAST(c.ci_id AS TEXT), @IMAGE_C@, @IMAGE_C_NONE@
    FROM ci AS c WHERE c.ci_id IN (SELECT lower(e.ci_id) FROM ci_ext AS e WHERE @CONFLICT_EXT@);
END;

DROP TRIGGER IF EXISTS ci_change_ext_update;
CREATE TRIGGER ci_change_ext_update AFTER UPDATE ON ci_ext
WHEN OLD.ci_id COLLATE BINARY IS NEW.ci_id
    AND (OLD.tags COLLATE BINARY IS NOT NEW.tags OR OLD.attributes COLLATE BINARY IS NOT NEW.attributes)
BEGIN
    INSERT INTO ci_change (entity, tenant_id, id, old, new)
    SELECT 'e', CAST(c.tenant_id AS TEXT), CAST(c.ci_id AS TEXT), @IMAGE_C_OLD@, @IMAGE_C_NEW@
    FROM ci AS c WHERE c.ci_id IN (NEW.ci_id, lower(NEW.ci_id));
END;

DROP TRIGGER IF EXISTS ci_change_ext_move;
CREATE TRIGGER ci_change_ext_move AFTER UPDATE ON ci_ext
WHEN OLD.ci_id COLLATE BINARY IS NOT NEW.ci_id
BEGIN
    INSERT INTO ci_change (entity, tenant_id, id, old, new)
    SELECT 'e', CAST(c.tenant_id AS TEXT), CAST(c.ci_id AS TEXT), @IMAGE_C_OLD@, @IMAGE_C_NONE@
    FROM ci AS c WHERE c.ci_id IN (OLD.ci_id, lower(OLD.ci_id));
    INSERT INTO ci_change (entity, tenant_id, id, old, new)
    SELECT 'e', CAST(c.tenant_id AS TEXT), CAST(c.ci_id AS TEXT), @IMAGE_C_NONE@, @IMAGE_C_NEW@
    FROM ci AS c WHERE c.ci_id IN (NEW.ci_id, lower(NEW.ci_id));
END;

DROP TRIGGER IF EXISTS ci_change_ext_supplant;
CREATE TRIGGER ci_change_ext_supplant BEFORE UPDATE ON ci_ext
WHEN @KEYS_EXT_DIFFER@
BEGIN
    INSERT INTO ci_change (entity, tenant_id, id, old, new)
    SELECT 'e', CAST(c.tenant_id AS TEXT), CAST(c.ci_id AS TEXT), @IMAGE_C@, @IMAGE_C_NONE@
    FROM ci AS c WHERE c.ci_id IN
        (SELECT lower(e.ci_id) FROM ci_ext AS e WHERE (@CONFLICT_EXT@) AND e.ci_id COLLATE BINARY IS NOT OLD.ci_id);
END;

DROP TRIGGER IF EXISTS ci_change_ext_delete;
CREATE TRIGGER ci_change_ext_delete AFTER DELETE ON ci_ext BEGIN
    INSERT INTO ci_change (entity, tenant_id, id, old, new)
    SELECT 'e', CAST(c.tenant_id AS TEXT), CAST(c.ci_id AS TEXT), @IMAGE_C_OLD@, @IMAGE_C_NONE@
    FROM ci AS c WHERE c.ci_id IN (OLD.ci_id, lower(OLD.ci_id));
END;

DROP TRIGGER IF EXISTS ci_change_relation_insert;
CREATE TRIGGER ci_change_relation_insert AFTER INSERT ON ci_relation BEGIN
    INSERT INTO ci_change (entity, tenant_id, new) VALUES ('r', CAST(NEW.tenant_id AS TEXT), @RELATION_NEW@);
END;

DROP TRIGGER IF EXISTS ci_change_relation_displace;
CREATE TRIGGER ci_change_relation_displace BEFORE INSERT ON ci_relation BEGIN
    INSERT INTO ci_change (entity, tenant_id, old)
    SELECT 'r', CAST(r.tenant_id AS TEXT), @RELATION_R@ FROM ci_relation AS r
    WHERE (@CONFLICT_RELATION@) AND @RELATION_R@ IS NOT @RELATION_NEW@;
END;

DROP TRIGGER IF EXISTS ci_change_relation_update;
CREATE TRIGGER ci_change_relation_update AFTER UPDATE ON ci_relation
WHEN OLD.tenant_id COLLATE BINARY IS NEW.tenant_id AND @RELATION_OLD@ IS NOT @RELATION_NEW@
BEGIN
    INSERT INTO ci_change (entity, tenant_id, old, new)
    VALUES ('r', CAST(NEW.tenant_id AS TEXT), @RELATION_OLD@, @RELATION_NEW@);
END;

DROP TRIGGER IF EXISTS ci_change_relation_move;
CREATE TRIGGER ci_change_relation_move AFTER UPDATE ON ci_relation
WHEN OLD.tenant_id COLLATE BINARY IS NOT NEW.tenant_id
BEGIN
    INSERT INTO ci_change (entity, tenant_id, old) VALUES ('r', CAST(OLD.tenant_id AS TEXT), @RELATION_OLD@);
    INSERT INTO ci_change (entity, tenant_id, new) VALUES ('r', CAST(NEW.tenant_id AS TEXT), @RELATION_NEW@);
END;

DROP TRIGGER IF EXISTS ci_change_relation_supplant;
CREATE TRIGGER ci_change_relation_supplant BEFORE UPDATE ON ci_relation
WHEN @KEYS_RELATION_DIFFER@
BEGIN
    INSERT INTO ci_change (entity, tenant_id, old)
    SELECT 'r', CAST(r.tenant_id AS TEXT), @RELATION_R@ FROM ci_relation AS r
    WHERE (@CONFLICT_RELATION@) AND @RELATION_R@ IS NOT @RELATION_OLD@;
END;

DROP TRIGGER IF EXISTS ci_change_relation_delete;
CREATE TRIGGER ci_change_relation_delete AFTER DELETE ON ci_relation BEGIN
    INSERT INTO ci_change (entity, tenant_id, old) VALUES ('r', CAST(OLD.tenant_id AS TEXT), @RELATION_OLD@);
END;
