-- The test's own record of every row's fate in PostgreSQL: full rows, the transaction, and the order within it.
CREATE TABLE history_audit (
    n bigint NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    what text NOT NULL,
    id text,
    body jsonb
);

CREATE FUNCTION history_micros(at timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN (extract(epoch FROM at) * 1000000)::bigint;

CREATE FUNCTION history_ci() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO history_audit (what, id) VALUES ('c', OLD.ci_id);
    ELSE
        INSERT INTO history_audit (what, id, body) VALUES ('c', NEW.ci_id, jsonb_build_array(NEW.tenant_id, NEW.ci_code,
            NEW.ci_name, NEW.ci_type, NEW.ci_subtype, NEW.ci_category, NEW.status, NEW.location, NEW.owner,
            NEW.criticality, history_micros(NEW.created_at), history_micros(NEW.updated_at),
            history_micros(NEW.deleted_at)));
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION history_ext() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO history_audit (what, id) VALUES ('e', OLD.ci_id);
    ELSE
        INSERT INTO history_audit (what, id, body) VALUES ('e', NEW.ci_id, jsonb_build_array(NEW.tags, NEW.attributes));
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION history_relation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO history_audit (what, id, body)
        VALUES ('r', '-', jsonb_build_array(OLD.tenant_id, OLD.from_id, OLD.to_id, OLD.rel_type));
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO history_audit (what, id, body)
        VALUES ('r', '+', jsonb_build_array(NEW.tenant_id, NEW.from_id, NEW.to_id, NEW.rel_type));
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION history_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history_audit (what, id) VALUES ('t', TG_TABLE_NAME);
    RETURN NULL;
END $$;

CREATE TRIGGER history_rows AFTER INSERT OR UPDATE OR DELETE ON ci FOR EACH ROW EXECUTE FUNCTION history_ci();
CREATE TRIGGER history_rows AFTER INSERT OR UPDATE OR DELETE ON ci_ext FOR EACH ROW EXECUTE FUNCTION history_ext();
CREATE TRIGGER history_rows AFTER INSERT OR UPDATE OR DELETE ON ci_relation
    FOR EACH ROW EXECUTE FUNCTION history_relation();
CREATE TRIGGER history_all AFTER TRUNCATE ON ci FOR EACH STATEMENT EXECUTE FUNCTION history_truncate();
CREATE TRIGGER history_all AFTER TRUNCATE ON ci_ext FOR EACH STATEMENT EXECUTE FUNCTION history_truncate();
CREATE TRIGGER history_all AFTER TRUNCATE ON ci_relation FOR EACH STATEMENT EXECUTE FUNCTION history_truncate();
