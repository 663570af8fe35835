#!/bin/sh
# Starts a Redmine of its own, on a free port, for the tests of trackers; ends when it is told to.
#
#   apt-get install redmine redmine-sqlite puma
#   tests/logbook/ticketing/trackers/start_redmine.sh [FOLDER]
#
# Prints the line that tells the tests where it is:
#
#   export SPROCKETS_TEST_REDMINE=http://KEY:@127.0.0.1:PORT/PROJECT?custom_field=NUMBER
#
# FOLDER gets the database, logs and files; a new one under /tmp unless given.
set -eu

folder=${1:-$(mktemp -d /tmp/redmine.XXXXXX)}
mkdir -p "$folder/config" "$folder/files" "$folder/log" "$folder/public" "$folder/tmp"
folder=$(cd "$folder" && pwd -P)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

cat > "$folder/config/database.yml" <<END
production:
  adapter: sqlite3
  database: $folder/redmine.sqlite3
  encoding: utf8
  timeout: 30000
END
[ -s "$folder/config/secret_key.txt" ] || python3 -c 'import secrets; print(secrets.token_hex(32))' \
    > "$folder/config/secret_key.txt"

# Debian looks for instances by name, in a folder that is a link: up to the root, then down again.
export REDMINE_INSTANCE="../../../../..$folder"
export RAILS_ENV=production RAILS_LOG_TO_STDOUT=
cd /usr/share/redmine

if [ ! -s "$folder/redmine.sqlite3" ]; then
    ready=/var/lib/dbconfig-common/sqlite3/redmine/instances/default/redmine_default
    if [ -r "$ready" ]; then
        cp "$ready" "$folder/redmine.sqlite3"
        chmod u+w "$folder/redmine.sqlite3"
    else
        bin/rake db:migrate > "$folder/log/migrate.log" 2>&1
        REDMINE_LANG=en bin/rake redmine:load_default_data >> "$folder/log/migrate.log" 2>&1
    fi
fi

cat > "$folder/seed.rb" <<'END'
Setting.rest_api_enabled = '1'
Setting.text_formatting = ENV.fetch('REDMINE_MARKUP', 'textile')
admin = User.find_by(login: 'admin')
admin.must_change_passwd = false
admin.save!(validate: false)
project = Project.find_by(identifier: 'logs') ||
  Project.new(name: 'Logs', identifier: 'logs', is_public: true,
              enabled_module_names: %w[issue_tracking])
project.trackers = Tracker.all
project.save!
field = IssueCustomField.find_by(name: 'Marker') ||
  IssueCustomField.new(name: 'Marker', field_format: 'string', is_filter: true, is_for_all: true)
field.trackers = Tracker.all
field.save!
puts "SEEDED #{admin.api_key} #{field.id}"
END
bin/rails runner "$folder/seed.rb" > "$folder/log/seed.log" 2>&1 || { cat "$folder/log/seed.log" >&2; exit 1; }
seeded=$(sed -n 's/^SEEDED //p' "$folder/log/seed.log")
key=${seeded% *}
field=${seeded#* }

echo "export SPROCKETS_TEST_REDMINE=http://$key:@127.0.0.1:$port/logs?custom_field=$field"
exec puma --dir /usr/share/redmine --environment production --bind "tcp://127.0.0.1:$port" \
    --threads 1:4 --pidfile "$folder/puma.pid" /usr/share/redmine/config.ru > "$folder/log/puma.log" 2>&1
