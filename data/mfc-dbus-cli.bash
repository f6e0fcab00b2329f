# Bash completion of mfc-dbus-cli, which says itself what may be typed.

_mfc_dbus_cli() {
    local line=${COMP_LINE:0:COMP_POINT} words=() word rest i
    # Bash splits "--iif=eth1" and "ff3e::1", too: what no blank parts is one word.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        rest=${line#"${line%%[![:blank:]]*}"}
        ((i < COMP_CWORD)) || word=${rest:0:${#word}}
        if ((i)) && [[ $rest == "$line" ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        line=${rest#"$word"}
    done

    # What bash will put the completion in the place of begins after these characters.
    local typed=${words[-1]} quote='' breaks='' kept=''
    for i in '=' ':' '@'; do
        [[ $COMP_WORDBREAKS != *"$i"* ]] || breaks+=$i
    done
    case $typed in
        [\'\"]*) quote=${typed:0:1} ;;
        *) [[ ! $breaks ]] || kept=${typed%"${typed##*[$breaks]}"} ;;
    esac
    words=("${words[@]//[\\\"\']/}")
    typed=${words[-1]}

    local offer files
    COMPREPLY=()
    while IFS= read -r offer; do
        word=${offer%%$'\t'*}
        case $offer in
            $'\tfiles')
                compopt -o filenames 2>/dev/null
                mapfile -t files < <(compgen -f -- "$typed")
                COMPREPLY+=("${files[@]}")
                ;;
            $'\thosts')
                mapfile -t files < <(compgen -A hostname -- "${typed##*@}")
                COMPREPLY+=("${files[@]}")
                ;;
            *)
                word=${word#"$kept"}
                # Bash closes the quote behind a word that does not end with this character.
                case $quote in
                    \')
                        word=${word//"'"/"'\\''"}
                        [[ $word != *\' ]] || word=${word%\'}
                        ;;
                    \")
                        for i in '\' '"' '$' '`'; do
                            word=${word//"$i"/"\\$i"}
                        done
                        [[ $word != *\" ]] || word+=\"
                        ;;
                    *) printf -v word %q "$word" ;;
                esac
                COMPREPLY+=("$word")
                ;;
        esac
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    [[ ${COMPREPLY[*]-} != *= ]] || compopt -o nospace 2>/dev/null # "eth1=", and N is still due
}

complete -F _mfc_dbus_cli mfc-dbus-cli
