#!/bin/sh
# Fetches MySQL's server and client into DIR without touching the system:
# Debian's packages of the unstable suite, unpacked, run with their own loader.
# DIR appears whole or not at all. Needs no root.
# usage: get-mysql.sh DIR
set -eu
[ $# -eq 1 ] || { echo "usage: get-mysql.sh DIR" >&2; exit 2; }
case $1 in /*) dir=$1 ;; *) dir=$PWD/$1 ;; esac
suite=sid
say() { echo "get-mysql: $*" >&2; }
die() { say "$@"; exit 1; }

for tool in apt-get dpkg awk find; do
	command -v $tool >/dev/null 2>&1 || die "$tool is missing; install it, or put MySQL's mysqld on the PATH"
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || die "$keyring is missing; install debian-archive-keyring, or put MySQL's mysqld on the PATH"

# The registry is the one that this machine's own apt uses.
uris=$(apt-get indextargets --format '$(REPO_URI) $(CREATED_BY) $(RELEASE)' |
	awk '$2 == "Packages" && $0 !~ /security|updates|backports/ && !seen[$1]++ {print $1}')
[ -n "$uris" ] || die "apt knows no package registry; add a Debian one to apt's sources, or put MySQL's mysqld on the PATH"

work=$dir.new.$$
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
rm -rf "$work"
root=$work/root
mkdir -p "$work/apt/etc/sources" "$work/apt/etc/preferences.d" "$work/apt/state/lists/partial" "$work/apt/cache/archives/partial" "$root" "$work/bin"
# Hooks that clean up after the system's own apt are not for this one.
printf '#clear APT::Update::%s;\n#clear DPkg::%s;\n' Pre-Invoke Pre-Invoke Post-Invoke Post-Invoke > "$work/apt/clear.conf"
apt() {
	apt-get -qq -y -c "$work/apt/clear.conf" \
		-o Dir::Etc="$work/apt/etc" -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/apt/etc/sources" \
		-o Dir::State="$work/apt/state" -o Dir::State::status=/dev/null -o Dir::Cache="$work/apt/cache" \
		-o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false -o Acquire::Retries=3 -o Debug::NoLocking=1 \
		-o APT::Update::Error-Mode=any "$@" </dev/null
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
		apt update && return 0
	done
	return 1
}
say "reading the package lists of Debian's $suite"
lists || die "no registry of this machine's apt has Debian's $suite suite; put MySQL's mysqld on the PATH"
say "downloading (about 70 MB)"
apt install --download-only --no-install-recommends mysql-server-core mysql-client-core
say "unpacking"
for deb in "$work"/apt/cache/archives/*.deb; do dpkg -x "$deb" "$root"; done
rm -rf "$work/apt"

loader=$root/usr/lib64/ld-linux-x86-64.so.2
[ -e "$loader" ] || loader=$(find "$root/usr/lib" "$root/lib" -name 'ld-linux*.so.*' 2>/dev/null | head -n 1)
libc=$(find "$root" -name 'libc.so.6' | head -n 1)
[ -n "$loader" ] && [ -n "$libc" ] || die "the packages hold no C library"

# A wrapper for each program: they need the libc they came with. The paths are
# those of the finished folder.
final() { printf '%s%s' "$dir" "${1#"$work"}"; }
wrap() {
	[ -x "$2" ] || return 0
	printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' \
		"$(final "$loader")" "$(final "$(dirname "$libc")")" "$(final "$2")" > "$work/bin/$1"
	chmod 755 "$work/bin/$1"
}
for tool in mysql mysqldump mysqlbinlog mysqladmin; do wrap $tool "$root/usr/bin/$tool"; done
wrap mysqld "$root/usr/sbin/mysqld"
chmod -R go+rX,go-w "$work"

rm -rf "$dir"
mv "$work" "$dir"
"$dir/bin/mysqld" --version
