# shellcheck shell=bash disable=SC2154
# The private Debian root: found, built once, entered. Sourced by ../run, which sets `checkout` and `suite`.

cache=${SUBMODEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/submodel}
needed_gb=5

say() { printf 'run: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [[ $EUID -eq 0 ]]; }
as_root=() # options of unshare that make an ordinary user root of a namespace of its own
is_root || as_root=(--map-root-user --map-auto)
elapsed() { printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60)); }

# ---- which root -----------------------------------------------------------------------------------------------------

root_key() {
    {
        echo "$suite" "$(uname -m)"
        sed 's/#.*//' "$checkout"/environment/{debian,pip}.txt | xargs -n 1
        cat "$checkout/environment/build.sh"
    } | sha256sum | cut -c 1-12
}

# Make $root exist and hold it: as long as descriptor $use is open nobody removes it.
ensure_root() {
    mkdir -p "$cache/locks" 2>/dev/null || die "cannot write to $cache: set SUBMODEL_CACHE to a folder that you can write to."
    cache=$(cd "$cache" && pwd -P)
    log=$cache/build.log
    root=$cache/$suite-$(root_key)
    exec {use}>>"$cache/locks/${root##*/}"
    flock -s "$use"
    [[ -d $root ]] && ! compgen -G "$cache/part.*" >/dev/null && return
    exec {lock}>>"$cache/locks/build"
    if ! flock -n "$lock"; then
        [[ ! -d $root ]] || return 0
        say "another ./run is building an environment in $cache; waiting for it"
        SECONDS=0
        until flock -w 15 "$lock"; do say "still waiting ($(elapsed))"; done
    fi
    remove_leftovers
    [[ -d $root ]] || build_root
    exec {lock}>&-
}

# ---- building it ----------------------------------------------------------------------------------------------------

build_root() {
    local part mirror options=()
    prepare_tools
    local free_gb=$(($(df -Pk "$cache" | awk 'NR == 2 {print $4}') / 1024 / 1024))
    ((free_gb >= needed_gb)) ||
        die "$cache has $free_gb GB free and the environment needs $needed_gb: make room or set SUBMODEL_CACHE to another disk."
    : >"$log"
    mirror=$(find_mirror) || die "$SUBMODEL_MIRROR has no $suite or cannot be reached (log: $log): set SUBMODEL_MIRROR to a Debian mirror, or unset it."
    mapfile -t options < <(apt_options)
    say "building the Debian $suite environment, once: about 4 minutes and 3.5 GB in $cache"
    SECONDS=0
    part=$(mktemp -d "$cache/part.XXXXXX")
    chmod 755 "$part"
    # The builder lives while its standard input is open, and only this process holds the other end.
    exec {life}> >(exec "${builder[@]}" "$checkout/environment/build.sh" debian "$part/root" "$suite" "$mirror" \
        ${options[@]+"${options[@]}"} >>"$log" 2>&1 {lock}>&- {use}>&-)
    follow $! "1/3 Debian packages" || build_failed "$part" "Debian packages could not be installed"
    exec {life}>&-
    prepare_entry "$part/root" --bind
    "${entry[@]}" "$checkout/environment/build.sh" python >>"$log" 2>&1 </dev/null &
    follow $! "2/3 Python packages that Debian lacks" || build_failed "$part" "pip could not install the packages of environment/pip.txt"
    prepare_entry "$part/root" --ro-bind
    "${entry[@]}" "$checkout/environment/build.sh" check >>"$log" 2>&1 </dev/null &
    follow $! "3/3 check" || build_failed "$part" "the environment does not work"
    mv -T "$part/root" "$root"
    rmdir "$part"
    say "environment ready in $(elapsed): $root"
    remove_old_roots
}

# Programs of the host that building and entering need; sets `builder`, the prefix that makes a builder of a command.
prepare_tools() {
    have apt-get || die "this machine has neither a Python with DOLFINx >= 0.9 and torch nor apt to build one: use Debian, Ubuntu or the conda environment of environment.yml."
    local missing=() sudo=()
    have mmdebstrap || missing+=(mmdebstrap)
    have bwrap || missing+=(bubblewrap)
    have newuidmap || is_root || missing+=(uidmap)
    [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || missing+=(debian-archive-keyring)
    if ((${#missing[@]})); then
        is_root || sudo=("$(find_sudo "to install ${missing[*]}")") || exit 1
        say "installing ${missing[*]} with apt-get"
        install_packages "${sudo[@]}" || { tail -n 5 "$cache/apt.log" >&2; die "apt-get could not install ${missing[*]} (log: $cache/apt.log): install them, then call again."; }
    fi
    bwrap --ro-bind / / --bind /proc /proc --dev-bind /dev /dev true 2>/dev/null ||
        die "bubblewrap may not make namespaces here: in a container start it with --privileged; on Ubuntu, sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0."
    builder=(unshare "${as_root[@]}" --mount --pid --fork --kill-child)
    "${builder[@]}" true 2>/dev/null && return
    # An ordinary user without subordinate ids (/etc/subuid), from a directory server for instance.
    sudo=("$(find_sudo "to build the environment")") || exit 1
    "${sudo[@]}" -v
    builder=("${sudo[@]}" ROOT_OWNER="$(id -u):$(id -g)" unshare --mount --pid --fork --kill-child)
}

find_sudo() {
    have sudo || die "root is needed once $1, and sudo is missing: let root do it."
    sudo -n true 2>/dev/null || [[ -t 0 || -t 2 ]] || die "root is needed once $1, and sudo asks for a password: call ./run from a terminal."
    echo sudo
}

install_packages() { # PREFIX...; reads `missing`
    local install=("$@" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}")
    "${install[@]}" >"$cache/apt.log" 2>&1 || { "$@" apt-get update && "${install[@]}"; } >>"$cache/apt.log" 2>&1
}

# The mirror to build from: the one asked for, or the first of this machine's that answers; empty for mmdebstrap's default.
find_mirror() {
    local uri
    if [[ -n ${SUBMODEL_MIRROR:-} ]]; then
        has_suite "$SUBMODEL_MIRROR" && echo "$SUBMODEL_MIRROR"
        return
    fi
    for uri in $(host_mirrors); do
        has_suite "$uri" && echo "$uri" && return
    done
    return 0
}

# Debian's main archive as the host's apt knows it, from *.sources and *.list alike.
host_mirrors() {
    # shellcheck disable=SC2016  # the format is apt's, not the shell's
    apt-get indextargets --format '$(LABEL) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk '$2 == "main" && ($1 == "Debian" || NF == 2) && $NF ~ /^https?:.*\/debian\/?$/ {print $NF}' | sort -u
}

has_suite() {
    local probe
    probe=$(mktemp -d)
    chmod 777 "$probe"
    /usr/lib/apt/apt-helper -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o Acquire::Retries=1 \
        download-file "${1%/}/dists/$suite/InRelease" "$probe/InRelease" >>"$log" 2>&1
    local found=$?
    rm -rf "$probe"
    return "$found"
}

# Options for the root's apt: how the host reaches the network, and what sid's mirrors need.
apt_options() {
    apt-config dump | grep -E '^Acquire::https?::([^ ]*::)?(Proxy|CaInfo|CaPath|Verify-Peer|Verify-Host) ' || true
    [[ $suite != sid ]] || echo 'Acquire::Check-Valid-Until "false";'
}

# Show that process $1, named $2, is at work until it ends; its exit status.
follow() {
    local ticks=0 line
    while kill -0 "$1" 2>/dev/null; do
        line=$(tail -c 2000 "$log" | tr '\r' '\n' | sed '/^[[:space:]]*$/d' | tail -n 1 | cut -c 1-60)
        if [[ -t 2 ]]; then
            line="run: $(elapsed) ${spinner:ticks%4:1} $2: $line"
            printf '\r\033[K%s' "${line:0:79}" >&2
        elif ((ticks % 60 == 0)); then
            say "$(elapsed) $2: $line"
        fi
        ticks=$((ticks + 1))
        sleep 0.25
    done
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
    wait "$1" && say "$(elapsed) $2: done"
}
spinner=.oOo

build_failed() {
    tail -n 15 "$log" | sed 's/^/    /' >&2
    remove_tree "$1"
    local why=$2
    if grep -qE 'No space left' "$log"; then
        why+=": the disk is full"
    elif grep -qE 'NO_PUBKEY|not signed|signatures? (was|were|could)|EXPKEYSIG' "$log"; then
        why+=": this machine's keys do not verify $suite; sudo apt-get install --only-upgrade debian-archive-keyring"
    elif grep -qiE 'could not resolve|temporary failure|unable to connect|failed to fetch|NewConnectionError|timed out' "$log"; then
        why+=": the network fails"
    fi
    die "$why (whole log: $log)."
}

# ---- removing -------------------------------------------------------------------------------------------------------

# The builder of a killed call ends within a second; until then it may still write, so try again.
remove_tree() {
    local attempt
    for attempt in 1 2 3 4 5; do
        rm -rf --one-file-system "$1" 2>/dev/null && return
        if ! is_root; then
            unshare "${as_root[@]}" rm -rf --one-file-system "$1" 2>/dev/null && return
            sudo -n rm -rf --one-file-system "$1" 2>/dev/null && return
        fi
        sleep "0.$attempt"
    done
    say "could not remove $1"
}

remove_leftovers() {
    local part
    for part in "$cache"/part.*; do
        [[ -e $part ]] || continue
        say "removing what a killed call left: $part"
        remove_tree "$part"
    done
}

remove_old_roots() {
    local old
    for old in "$cache/$suite"-*; do
        [[ -d $old && $old != "$root" && $old != *.home ]] || continue
        if flock -n -x "$cache/locks/${old##*/}" mv -T "$old" "$cache/part.${old##*/}"; then
            say "removing the environment of an older package list: $old"
            remove_tree "$cache/part.${old##*/}"
            remove_tree "$old.home"
        fi
    done
}

# ---- entering -------------------------------------------------------------------------------------------------------

# Set `entry`, the prefix that runs a command in a root: the host's folders, network and pip settings are there, its
# system is not. The command ends with this process. Process numbers are the host's: Open MPI names files in /tmp and
# /dev/shm after them, so that two calls with numbers of their own would meet in one file.
prepare_entry() { # ROOT --bind|--ro-bind
    local system=$1 home=$cache/${root##*/}.home shared=(/tmp /var/tmp) variable path
    entry=(bwrap --die-with-parent "$2" "$system" / --bind /proc /proc --dev-bind /dev /dev --ro-bind /sys /sys
        --tmpfs /run --bind /tmp /tmp --bind /var/tmp /var/tmp)
    for path in /etc/{resolv.conf,hosts,passwd,group} /etc/ssl/certs /etc/pip.conf; do
        add_mount --ro-bind "$path"
    done
    for path in /*; do
        case $path in
            /bin | /boot | /dev | /etc | /lib* | /lost+found | /proc | /root | /run | /sbin | /sys | /tmp | /usr | /var) ;;
            *) [[ ! -d $path ]] || add_mount --bind "$path" ;;
        esac
    done
    for path in "$HOME" "$cache" "$checkout"; do add_mount --bind "$path"; done
    for path in "$PWD" "${TMPDIR:-/tmp}"; do is_system "$path" || add_mount --bind "$path"; done
    while read -r path; do is_system "$path" || add_mount --ro-bind "$path"; done < <(paths_in_settings)
    for variable in LD_LIBRARY_PATH LD_PRELOAD PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV CONDA_PREFIX PETSC_DIR PETSC_ARCH \
        PKG_CONFIG_PATH CC CXX CFLAGS CXXFLAGS CPPFLAGS LDFLAGS CPATH LIBRARY_PATH XDG_RUNTIME_DIR; do
        entry+=(--unsetenv "$variable")
    done
    mkdir -p "$home" # what is compiled for this root: DOLFINx's kernels, font lists
    entry+=(--chdir "$PWD" --setenv SUBMODEL_INSIDE "$suite" --setenv XDG_CACHE_HOME "$home"
        --setenv PATH "$checkout/environment/bin:/usr/local/venv/bin:/usr/local/bin:/usr/bin:/bin"
        --setenv PYTHONPATH "$checkout" --setenv PYTHONNOUSERSITE 1 --setenv LC_ALL C.UTF-8
        --setenv OMPI_MCA_btl "${OMPI_MCA_btl:-self,sm}") # one machine: shared memory, no search for networks
}

# Add a path of the host at the same place; where the root lacks that place it is made, in the folder of the root.
add_mount() { # --bind|--ro-bind PATH
    local path=$2 parent
    [[ -e $path && $path != / ]] || return 0
    for parent in "${shared[@]}"; do
        [[ $path != "$parent" && $path != "$parent"/* ]] || return 0
    done
    if [[ -d $path ]]; then
        mkdir -p "$system$path" 2>/dev/null || true
    elif [[ ! -e $system$path ]]; then
        { mkdir -p "$(dirname "$system$path")" && : >"$system$path"; } 2>/dev/null || return 0
    fi
    entry+=("$1" "$(realpath "$path")" "$path")
    shared+=("$path")
}

# A folder that the root has content for: the root's is what the command shall see.
is_system() { [[ -d $1 && -n $(ls -A "$system$1" 2>/dev/null) ]]; }

# Existing files and folders of the host that certificate variables and pip's settings name.
paths_in_settings() {
    local file settings
    settings=$(env | grep -E '^(SSL_CERT_|PIP_|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|GIT_SSL_CAINFO)' | cut -d = -f 2- || true)
    for file in /etc/pip.conf "$HOME"/.pip/pip.conf "${XDG_CONFIG_HOME:-$HOME/.config}"/pip/pip.conf "${PIP_CONFIG_FILE:-}"; do
        [[ ! -r $file ]] || settings+=$'\n'$(sed 's/^[^=]*=//' "$file")
    done
    tr -s ' ,"' '\n' <<<"$settings" | sed 's|^file://||' | grep '^/.' | sort -u | while read -r file; do
        [[ ! -e $file ]] || echo "$file"
    done
}
