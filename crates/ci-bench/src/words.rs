//! The vocabulary of the estate: what its systems, sites, teams and products are called.

/// Business domains: the part of a code, and the name for people. The first is everybody's login.
pub(crate) const DOMAINS: [(&str, &str); 16] = [
    ("iam", "Identity"),
    ("erp", "ERP"),
    ("crm", "CRM"),
    ("mes", "Manufacturing"),
    ("scm", "Supply Chain"),
    ("hr", "Human Resources"),
    ("fin", "Finance"),
    ("wms", "Warehouse"),
    ("plm", "Product Lifecycle"),
    ("bi", "Analytics"),
    ("tms", "Transport"),
    ("qms", "Quality"),
    ("lims", "Laboratory"),
    ("pay", "Payments"),
    ("dms", "Documents"),
    ("b2b", "Partner Portal"),
];

/// What a system does within its domain.
pub(crate) const FUNCTIONS: [(&str, &str); 16] = [
    ("login", "Login"),
    ("order", "Order"),
    ("billing", "Billing"),
    ("invoice", "Invoice"),
    ("catalog", "Catalog"),
    ("planning", "Planning"),
    ("inventory", "Inventory"),
    ("report", "Reporting"),
    ("shipping", "Shipping"),
    ("contract", "Contract"),
    ("claims", "Claims"),
    ("archive", "Archive"),
    ("forecast", "Forecast"),
    ("audit", "Audit"),
    ("gateway", "Gateway"),
    ("search", "Search"),
];

/// Sites: the part of a code, and the location.
pub(crate) const SITES: [(&str, &str); 8] = [
    ("seoul", "서울 가산 데이터센터 1"),
    ("muenchen", "München RZ Süd"),
    ("ashburn", "Ashburn VA-3"),
    ("tokyo", "東京 第二センター"),
    ("singapore", "Singapore SG1"),
    ("saopaulo", "São Paulo DC2"),
    ("lodz", "Łódź DC1"),
    ("dublin", "Dublin West"),
];

/// Teams that own systems and apps: the tag, and the owner's name.
pub(crate) const TEAMS: [(&str, &str); 8] = [
    ("commerce", "Commerce Engineering"),
    ("erp-ops", "ERP 운영팀"),
    ("finance-it", "Finance IT"),
    ("produktion", "Produktions-IT Süd"),
    ("platform", "Platform Operations"),
    ("data", "Data & Analytics"),
    ("logistics", "물류 시스템팀"),
    ("workplace", "Équipe Poste de travail"),
];

/// Environments, as often as they occur.
pub(crate) const ENVIRONMENTS: [&str; 8] = ["prod", "prod", "prod", "prod", "prod", "stage", "test", "dev"];

/// Life-cycle statuses, as often as they occur.
pub(crate) const STATUSES: [&str; 16] = [
    "active",
    "active",
    "active",
    "active",
    "active",
    "active",
    "active",
    "active",
    "active",
    "active",
    "active",
    "active",
    "maintenance",
    "planned",
    "standby",
    "retired",
];

/// A product: name, version, port where it has one.
pub(crate) type Product = (&'static str, &'static str, Option<u16>);

/// Operating systems.
pub(crate) const SYSTEMS: [Product; 5] = [
    ("Debian GNU/Linux", "12.6", None),
    ("Red Hat Enterprise Linux", "9.4", None),
    ("SUSE Linux Enterprise Server", "15.6", None),
    ("Windows Server", "2022", None),
    ("AIX", "7.3", None),
];

/// Database engines.
pub(crate) const DATABASES: [Product; 5] = [
    ("postgresql", "16.3", Some(5432)),
    ("oracle", "19.23", Some(1521)),
    ("mariadb", "10.11", Some(3306)),
    ("sqlserver", "16.0", Some(1433)),
    ("tibero", "7.2", Some(8629)),
];

/// Application servers.
pub(crate) const APPLICATION_SERVERS: [Product; 4] = [
    ("tomcat", "10.1", Some(8080)),
    ("wildfly", "31.0", Some(8080)),
    ("jeus", "8.5", Some(9736)),
    ("websphere", "9.0", Some(9080)),
];

/// Web servers.
pub(crate) const WEB_SERVERS: [Product; 3] = [
    ("nginx", "1.26", Some(443)),
    ("apache", "2.4", Some(443)),
    ("webtob", "5.0", Some(443)),
];

/// Server models: name, cores, memory in GiB.
pub(crate) const SERVER_MODELS: [(&str, u32, u32); 5] = [
    ("ProLiant DL380 Gen10", 32, 256),
    ("PowerEdge R750", 48, 512),
    ("Power S1022", 40, 1024),
    ("KVM guest", 8, 32),
    ("vSphere guest", 16, 64),
];

/// Languages that apps are written in.
pub(crate) const LANGUAGES: [&str; 5] = ["java", "kotlin", "python", "rust", "csharp"];
