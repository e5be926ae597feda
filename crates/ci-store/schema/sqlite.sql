-- The tables of ci-cache in SQLite. Every statement can run again; words between @ are filled in by `sqlite/migrate.rs`.

CREATE TABLE IF NOT EXISTS ci (
    ci_id TEXT NOT NULL PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    ci_type TEXT NOT NULL,
    ci_subtype TEXT,
    ci_code TEXT NOT NULL,
    ci_name TEXT NOT NULL,
    ci_category TEXT,
    status TEXT,
    criticality INTEGER,
    location TEXT,
    owner TEXT,
    -- RFC 3339 in UTC with six decimals: the order of texts is the order of moments.
    created_at TEXT NOT NULL DEFAULT (@NOW@),
    updated_at TEXT NOT NULL DEFAULT (@NOW@),
    deleted_at TEXT
);

CREATE TABLE IF NOT EXISTS ci_ext (
    ci_id TEXT NOT NULL PRIMARY KEY REFERENCES ci (ci_id) ON DELETE CASCADE,
    attributes TEXT NOT NULL DEFAULT '{}',
    tags TEXT NOT NULL DEFAULT '{}',
    updated_at TEXT NOT NULL DEFAULT (@NOW@)
);

CREATE UNIQUE INDEX IF NOT EXISTS ci_tenant_code ON ci (tenant_id, ci_code);
CREATE UNIQUE INDEX IF NOT EXISTS ci_tenant_id ON ci (tenant_id, ci_id);
-- deleted_at, so that the total of a list is counted in the index alone.
CREATE INDEX IF NOT EXISTS ci_newest ON ci (tenant_id, created_at DESC, ci_id, deleted_at);
-- For lists of what was changed last.
CREATE INDEX IF NOT EXISTS ci_changed ON ci (tenant_id, updated_at DESC, ci_id, deleted_at);
-- For aggregates by these columns: read in the order of the groups, without the rows.
CREATE INDEX IF NOT EXISTS ci_counted ON ci (tenant_id, ci_type, status, location, owner, deleted_at);
-- For the most critical CIs, by code.
CREATE INDEX IF NOT EXISTS ci_critical ON ci (tenant_id, criticality, ci_code, deleted_at);

CREATE TABLE IF NOT EXISTS ci_relation (
    tenant_id TEXT NOT NULL,
    from_id TEXT NOT NULL,
    to_id TEXT NOT NULL,
    rel_type TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (@NOW@),
    PRIMARY KEY (tenant_id, from_id, rel_type, to_id),
    FOREIGN KEY (tenant_id, from_id) REFERENCES ci (tenant_id, ci_id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, to_id) REFERENCES ci (tenant_id, ci_id) ON DELETE CASCADE,
    CHECK (from_id <> to_id)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS ci_relation_in ON ci_relation (tenant_id, to_id, rel_type, from_id);

-- Every character whose folded form differs, A to Z included.
CREATE TABLE IF NOT EXISTS ci_fold (upper TEXT NOT NULL PRIMARY KEY, lower TEXT NOT NULL) WITHOUT ROWID;

-- The folded search text of each CI. `doc` is the row's name in the index; the rowid of `ci` would not do, because
-- VACUUM may change it.
CREATE TABLE IF NOT EXISTS ci_search (
    doc INTEGER PRIMARY KEY,
    ci_id TEXT NOT NULL UNIQUE,
    tenant_id TEXT NOT NULL,
    text TEXT NOT NULL
);

CREATE VIRTUAL TABLE IF NOT EXISTS ci_search_fts USING fts5(
    text, content = 'ci_search', content_rowid = 'doc', columnsize = 0, detail = none,
    tokenize = 'trigram case_sensitive 1'
);

DROP TRIGGER IF EXISTS ci_search_added;
CREATE TRIGGER ci_search_added AFTER INSERT ON ci_search BEGIN
    INSERT INTO ci_search_fts (rowid, text) VALUES (NEW.doc, NEW.text);
END;

DROP TRIGGER IF EXISTS ci_search_removed;
CREATE TRIGGER ci_search_removed AFTER DELETE ON ci_search BEGIN
    INSERT INTO ci_search_fts (ci_search_fts, rowid, text) VALUES ('delete', OLD.doc, OLD.text);
END;

-- Delete and insert instead of an upsert: INSERT OR REPLACE INTO ci fires no delete trigger, and its conflict rule
-- overrides those of the statements in here.
DROP TRIGGER IF EXISTS ci_search_on_insert;
CREATE TRIGGER ci_search_on_insert AFTER INSERT ON ci BEGIN
    DELETE FROM ci_search WHERE ci_id = NEW.ci_id;
    INSERT INTO ci_search (ci_id, tenant_id, text) VALUES (NEW.ci_id, NEW.tenant_id, @SEARCH_TEXT_NEW@);
END;

DROP TRIGGER IF EXISTS ci_search_on_update;
CREATE TRIGGER ci_search_on_update
AFTER UPDATE OF ci_id, tenant_id, ci_code, ci_name, ci_type, ci_subtype, ci_category ON ci
WHEN OLD.ci_id IS NOT NEW.ci_id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.ci_code IS NOT NEW.ci_code
    OR OLD.ci_name IS NOT NEW.ci_name OR OLD.ci_type IS NOT NEW.ci_type OR OLD.ci_subtype IS NOT NEW.ci_subtype
    OR OLD.ci_category IS NOT NEW.ci_category
BEGIN
    DELETE FROM ci_search WHERE ci_id IN (OLD.ci_id, NEW.ci_id);
    INSERT INTO ci_search (ci_id, tenant_id, text) VALUES (NEW.ci_id, NEW.tenant_id, @SEARCH_TEXT_NEW@);
END;

DROP TRIGGER IF EXISTS ci_search_on_delete;
CREATE TRIGGER ci_search_on_delete AFTER DELETE ON ci BEGIN
    DELETE FROM ci_search WHERE ci_id = OLD.ci_id;
END;

-- Other programs write moments in other forms (CURRENT_TIMESTAMP, ISO 8601 with an offset) or leave them out.
DROP TRIGGER IF EXISTS ci_moments_on_insert;
CREATE TRIGGER ci_moments_on_insert AFTER INSERT ON ci
WHEN NOT (@CANONICAL_CREATED@ AND @CANONICAL_UPDATED@ AND (NEW.deleted_at IS NULL OR @CANONICAL_DELETED@))
BEGIN
    UPDATE ci SET created_at = @MOMENT_CREATED@, updated_at = @MOMENT_UPDATED@, deleted_at = @MOMENT_DELETED@
    WHERE ci_id = NEW.ci_id;
END;

DROP TRIGGER IF EXISTS ci_moments_on_update;
CREATE TRIGGER ci_moments_on_update AFTER UPDATE OF created_at, updated_at, deleted_at ON ci
WHEN NOT (@CANONICAL_CREATED@ AND @CANONICAL_UPDATED@ AND (NEW.deleted_at IS NULL OR @CANONICAL_DELETED@))
BEGIN
    UPDATE ci SET created_at = @MOMENT_CREATED@, updated_at = @MOMENT_UPDATED@, deleted_at = @MOMENT_DELETED@
    WHERE ci_id = NEW.ci_id;
END;

-- What a table made by another program does not check. One that is made here is checked the same way.
DROP TRIGGER IF EXISTS ci_check_insert;
CREATE TRIGGER ci_check_insert BEFORE INSERT ON ci BEGIN @CHECK_CI@; END;
DROP TRIGGER IF EXISTS ci_check_update;
CREATE TRIGGER ci_check_update BEFORE UPDATE ON ci BEGIN @CHECK_CI@; END;
DROP TRIGGER IF EXISTS ci_ext_check_insert;
CREATE TRIGGER ci_ext_check_insert BEFORE INSERT ON ci_ext BEGIN @CHECK_EXT@; END;
DROP TRIGGER IF EXISTS ci_ext_check_update;
CREATE TRIGGER ci_ext_check_update BEFORE UPDATE ON ci_ext BEGIN @CHECK_EXT@; END;
