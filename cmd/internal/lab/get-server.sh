#!/bin/sh
# Fetches a database server and its tools into DIR without touching the system:
# Debian's packages, unpacked, run with their own loader and libraries.
# DIR appears whole or not at all; DIR.new is there meanwhile. Needs no root.
# What it does goes to stdout; the one line of stderr is why it could not.
# usage: get-server.sh mysql|mariadb DIR
set -eu
[ $# -eq 2 ] || { echo "usage: get-server.sh mysql|mariadb DIR" >&2; exit 2; }
case $2 in /*) dir=$2 ;; *) dir=$PWD/$2 ;; esac
say() { echo "get-server: $*"; }
die() { echo "$*" >&2; exit 1; }
# reason TEXT: a full disk, or the first error of apt, or the first line.
reason() {
	printf '%s\n' "$1" | awk 'NR == 1 {rank = 1; line = $0} rank < 2 && /^E:/ {rank = 2; line = $0}
		rank < 3 && /No space left/ {rank = 3; line = $0} END {print line}'
}
# try WHAT COMMAND...: the command, or an end with its complaint.
try() {
	what=$1 && shift
	complaint=$("$@" 2>&1) || die "$what: $(reason "$complaint")"
}

# packages come with what they depend on, alone without; programs get a wrapper.
case $1 in
mysql)
	suite=sid size=70 server=mysqld cure="put MySQL's mysqld on the PATH"
	packages="mysql-server-core mysql-client-core" alone=
	programs="mysqld mysql mysqldump mysqlbinlog mysqladmin"
	;;
mariadb)
	suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}") size=50 server=mariadbd
	cure="put MariaDB's mariadbd, mariadb and mariadb-backup on the PATH"
	packages="mariadb-server-core mariadb-client-core mariadb-backup"
	alone="mariadb-server mariadb-client" # for plugins and mariadb-binlog, not for Perl and Galera
	programs="mariadbd mariadb mariadb-admin mariadb-backup mariadb-binlog mariadb-dump mariadb-upgrade mbstream my_print_defaults resolveip"
	;;
*) die "no engine $1: want mysql or mariadb" ;;
esac

for tool in apt-get dpkg awk find; do
	command -v $tool >/dev/null 2>&1 || die "$tool is missing; install it, or $cure"
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || die "$keyring is missing; install debian-archive-keyring, or $cure"
[ -n "$suite" ] || die "/etc/os-release names no suite of Debian; $cure"

# The registry is the one that this machine's own apt uses, be it that it never
# fetched a list from there.
uris=$(apt-get indextargets --no-release-info --format '$(REPO_URI) $(CREATED_BY) $(RELEASE)' |
	awk '$2 == "Packages" && $0 !~ /security|updates|backports/ && !seen[$1]++ {print $1}')
[ -n "$uris" ] || die "apt knows no package registry; add a Debian one to apt's sources, or $cure"

work=$dir.new
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
rm -rf "$work"
root=$work/root
mkdir -p "$work/apt/etc/sources" "$work/apt/etc/preferences.d" "$work/apt/state/lists/partial" "$work/apt/cache/archives/partial" "$root" "$work/bin"
# Hooks that clean up after the system's own apt are not for this one.
printf '#clear APT::Update::%s;\n#clear DPkg::%s;\n' Pre-Invoke Pre-Invoke Post-Invoke Post-Invoke > "$work/apt/clear.conf"
apt() {
	LC_ALL=C.UTF-8 apt-get -qq -y -c "$work/apt/clear.conf" \
		-o Dir::Etc="$work/apt/etc" -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/apt/etc/sources" \
		-o Dir::State="$work/apt/state" -o Dir::State::status=/dev/null -o Dir::Cache="$work/apt/cache" \
		-o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false -o Acquire::Retries=3 -o Debug::NoLocking=1 \
		-o APT::Update::Error-Mode=any -o Acquire::Languages=none "$@" </dev/null
}
lists() {
	for uri in $uris; do
		cat > "$work/apt/etc/sources/lab.sources" <<-EOF
			Types: deb
			URIs: $uri
			Suites: $suite
			Components: main
			Signed-By: $keyring
		EOF
		! complaint=$(apt update 2>&1) || return 0
	done
	die "read the package lists of Debian's $suite: $(reason "$complaint"); mend that, or $cure"
}
say "reading the package lists of Debian's $suite"
lists
say "downloading $1 (about $size MB)"
try "download $1" apt install --download-only --no-install-recommends $packages
[ -z "$alone" ] || (cd "$work/apt/cache/archives" && try "download $1" apt download $alone)
say "unpacking"
for deb in "$work"/apt/cache/archives/*.deb; do try "unpack ${deb##*/}" dpkg -x "$deb" "$root"; done
rm -rf "$work/apt"

loader=$(find "$root/usr/lib64" "$root/usr/lib" "$root/lib" -name 'ld-linux*.so.*' \( -type f -o -type l -exec test -e {} \; \) -print 2>/dev/null | head -n 1)
libc=$(find "$root" -name 'libc.so.6' | head -n 1)
[ -n "$loader" ] && [ -n "$libc" ] || die "the packages hold no C library"

# The paths in the wrappers are those of the finished folder.
final() { printf '%s%s' "$dir" "${1#"$work"}"; }
libraries=$(final "$(dirname "$libc")")
for folder in "$root"/lib/*-linux-gnu* "$root"/usr/lib/*-linux-gnu*; do
	[ ! -d "$folder" ] || [ "$folder" = "$(dirname "$libc")" ] || libraries=$libraries:$(final "$folder")
done

# A wrapper for each program: they need the libraries they came with.
wrap() {
	printf '#!/bin/sh\nexec %s "$@"\n' "$2" > "$work/bin/$1"
	chmod 755 "$work/bin/$1"
}
for program in $programs; do
	for folder in sbin bin; do
		[ ! -x "$root/usr/$folder/$program" ] ||
			wrap $program "\"$(final "$loader")\" --library-path \"$libraries\" \"$dir/root/usr/$folder/$program\""
	done
done
if [ $1 = mariadb ]; then
	# A script that looks for programs and for its SQL below one folder.
	ln -s bin "$work/sbin"
	ln -s root/usr/share root/usr/lib "$work/"
	wrap mariadb-install-db "/bin/sh \"$dir/root/usr/bin/mariadb-install-db\" --basedir=\"$dir\""
fi
chmod -R go+rX,go-w "$work"

rm -rf "$dir"
mv "$work" "$dir"
"$dir/bin/$server" --version
