# Bash completion of mfc-dbus-cli: objects, verbs, options, and the interfaces of this machine.
# Groups and sources are free text.

_mfc_dbus_cli() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local object='' verb='' option='' choices i
    COMPREPLY=()

    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -*) option=${COMP_WORDS[i]} ;;
            =) ;;
            *)
                if [[ $option == -H || $option == --host ]]; then
                    option=''
                elif [[ -z $object ]]; then
                    object=${COMP_WORDS[i]}
                elif [[ -z $verb ]]; then
                    verb=${COMP_WORDS[i]}
                fi
                ;;
        esac
    done

    if [[ $word != -* ]]; then
        case $option in
            -H | --host)
                mapfile -t COMPREPLY < <(compgen -A hostname -- "$word")
                return
                ;;
            -i | --iif | --interface)
                if [[ $previous == "$option" ]]; then
                    _mfc_dbus_cli_interfaces "$word"
                    return
                fi
                ;;
            -o | --oifs)
                _mfc_dbus_cli_interfaces "$word"
                return
                ;;
            --ttl)
                [[ $previous != = && $word != = ]] && _mfc_dbus_cli_interfaces "$word" =
                return
                ;;
            -s | --source | -g | --group | --comment)
                [[ $previous == "$option" ]] && return
                ;;
        esac
    fi

    choices='--json --no-ask-password --host --help'
    case "$object $verb" in
        ' ') choices+=' --version show mfc group apply export import monitor discover batch' ;;
        s*' ') choices+=' routes learned interfaces tables memberships' ;;
        mf*' ') choices+=' add del flush' ;;
        mf*' a'*) choices+=' --source --group --iif --oifs --stop --ttl --replace --transient --timeout --wait --hairpin --table --comment' ;;
        mf*' d'*) choices+=' --source --group --iif --table' ;;
        mf*' f'*) choices+=' --iif --group --table' ;;
        g*' ') choices+=' join leave' ;;
        g*' j'*) choices+=' --source --group --interface --transient --wait --comment' ;;
        g*' l'*) choices+=' --source --group --interface' ;;
        b*' ' | a*' ' | i*' ')
            [[ $object == a* ]] && choices+=' --merge --dry-run --wait --empty'
            if [[ $word != -* ]]; then
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
                return
            fi
            ;;
    esac
    if [[ -z $word ]]; then # options only where asked for, or where there is nothing else
        local words=()
        for i in $choices; do
            [[ $i == -* ]] || words+=("$i")
        done
        ((${#words[@]})) && choices=${words[*]}
    fi
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
}

# _mfc_dbus_cli_interfaces WORD [SUFFIX]: complete the last of "eth1,eth2". Not by compgen, which
# would expand what it is given, and an interface may be called '$(reboot)'.
_mfc_dbus_cli_interfaces() {
    local word=$1 suffix=${2-} before='' path name quoted
    if [[ $word == *,* ]]; then
        before=${word%,*},
        word=${word##*,}
    fi
    for path in /sys/class/net/*; do
        name=${path##*/}
        if [[ $name == "$word"* && -e $path/ifindex ]]; then
            printf -v quoted %q "$name"
            COMPREPLY+=("$before$quoted$suffix")
        fi
    done
    [[ $suffix ]] && compopt -o nospace 2>/dev/null
}

complete -F _mfc_dbus_cli mfc-dbus-cli
