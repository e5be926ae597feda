-- The test's own record of every row's fate in SQLite: full rows, and the newest number of the change table right after
-- the change was recorded. These triggers have to run after those of the feed; SQLite runs the youngest first, so they
-- are made before them (see `audit::install`). An update that changes nothing has no number, and is no change.
CREATE TABLE history_audit (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    mark INTEGER NOT NULL,
    what TEXT NOT NULL,
    id TEXT,
    body TEXT
);

CREATE TRIGGER history_ci_insert AFTER INSERT ON ci BEGIN
    INSERT INTO history_audit (mark, what, id, body) VALUES ((SELECT max(seq) FROM ci_change), 'c', NEW.ci_id,
        json_array(NEW.tenant_id, NEW.ci_code, NEW.ci_name, NEW.ci_type, NEW.ci_subtype, NEW.ci_category, NEW.status,
            NEW.location, NEW.owner, NEW.criticality, NEW.created_at, NEW.updated_at, NEW.deleted_at));
END;
CREATE TRIGGER history_ci_update AFTER UPDATE ON ci
WHEN (OLD.tenant_id, OLD.ci_code, OLD.ci_name, OLD.ci_type, OLD.ci_subtype, OLD.ci_category, OLD.status, OLD.location,
        OLD.owner, OLD.criticality, OLD.created_at, OLD.updated_at, OLD.deleted_at)
    IS NOT (NEW.tenant_id, NEW.ci_code, NEW.ci_name, NEW.ci_type, NEW.ci_subtype, NEW.ci_category, NEW.status,
        NEW.location, NEW.owner, NEW.criticality, NEW.created_at, NEW.updated_at, NEW.deleted_at)
BEGIN
    INSERT INTO history_audit (mark, what, id, body) VALUES ((SELECT max(seq) FROM ci_change), 'c', NEW.ci_id,
        json_array(NEW.tenant_id, NEW.ci_code, NEW.ci_name, NEW.ci_type, NEW.ci_subtype, NEW.ci_category, NEW.status,
            NEW.location, NEW.owner, NEW.criticality, NEW.created_at, NEW.updated_at, NEW.deleted_at));
END;
CREATE TRIGGER history_ci_delete AFTER DELETE ON ci BEGIN
    INSERT INTO history_audit (mark, what, id) VALUES ((SELECT max(seq) FROM ci_change), 'c', OLD.ci_id);
END;
CREATE TRIGGER history_ext_insert AFTER INSERT ON ci_ext BEGIN
    INSERT INTO history_audit (mark, what, id, body) VALUES ((SELECT max(seq) FROM ci_change), 'e', NEW.ci_id,
        json_array(json(NEW.tags), json(NEW.attributes)));
END;
CREATE TRIGGER history_ext_update AFTER UPDATE ON ci_ext
WHEN (OLD.tags, OLD.attributes)
    IS NOT (NEW.tags, NEW.attributes)
BEGIN
    INSERT INTO history_audit (mark, what, id, body) VALUES ((SELECT max(seq) FROM ci_change), 'e', NEW.ci_id,
        json_array(json(NEW.tags), json(NEW.attributes)));
END;
CREATE TRIGGER history_ext_delete AFTER DELETE ON ci_ext BEGIN
    INSERT INTO history_audit (mark, what, id) VALUES ((SELECT max(seq) FROM ci_change), 'e', OLD.ci_id);
END;
CREATE TRIGGER history_relation_insert AFTER INSERT ON ci_relation BEGIN
    INSERT INTO history_audit (mark, what, id, body) VALUES ((SELECT max(seq) FROM ci_change), 'r', '+',
        json_array(NEW.tenant_id, NEW.from_id, NEW.to_id, NEW.rel_type));
END;
CREATE TRIGGER history_relation_update AFTER UPDATE ON ci_relation
WHEN (OLD.tenant_id, OLD.from_id, OLD.to_id, OLD.rel_type)
    IS NOT (NEW.tenant_id, NEW.from_id, NEW.to_id, NEW.rel_type)
BEGIN
    INSERT INTO history_audit (mark, what, id, body) VALUES ((SELECT max(seq) FROM ci_change), 'r', '-',
        json_array(OLD.tenant_id, OLD.from_id, OLD.to_id, OLD.rel_type));
    INSERT INTO history_audit (mark, what, id, body) VALUES ((SELECT max(seq) FROM ci_change), 'r', '+',
        json_array(NEW.tenant_id, NEW.from_id, NEW.to_id, NEW.rel_type));
END;
CREATE TRIGGER history_relation_delete AFTER DELETE ON ci_relation BEGIN
    INSERT INTO history_audit (mark, what, id, body) VALUES ((SELECT max(seq) FROM ci_change), 'r', '-',
        json_array(OLD.tenant_id, OLD.from_id, OLD.to_id, OLD.rel_type));
END;
