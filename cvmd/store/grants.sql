-- The two users of cvmd on MariaDB or MySQL. Run as an administrator: mariadb < grants.sql, after putting
-- your own hosts and passwords in.

CREATE DATABASE IF NOT EXISTS cvmd CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The daemon and the command line: no DELETE, no DDL. Certificates and audit lines cannot be made to vanish.
CREATE USER IF NOT EXISTS 'cvmd'@'localhost' IDENTIFIED BY 'change-me';
GRANT SELECT, INSERT, UPDATE ON cvmd.* TO 'cvmd'@'localhost';

-- `cvmd db migrate` and `cvmd products delete`, with --login cvmd-migrate, backup and restore alone. INSERT, UPDATE and
-- DELETE are for Alembic's own table and for moving data, LOCK TABLES for loading a dump.
CREATE USER IF NOT EXISTS 'cvmd-migrate'@'localhost' IDENTIFIED BY 'change-me-too';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, LOCK TABLES ON cvmd.*
    TO 'cvmd-migrate'@'localhost';
