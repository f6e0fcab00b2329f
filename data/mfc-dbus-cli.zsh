#compdef mfc-dbus-cli
# Zsh completion of mfc-dbus-cli, which says itself what may be typed.

local program=${(Q)words[1]} offer word
local -a offers described unfinished
[[ -n ${commands[$program]-} || -x $program ]] || program=mfc-dbus-cli
offers=("${(@f)$("$program" __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")

local -i found=1
for offer in $offers; do
    word=${offer%%$'\t'*}
    case $offer in
        $'\tfiles') _files && found=0 ;;
        $'\thosts') _hosts && found=0 ;;
        *=$'\t'*) unfinished+=("$word") ;;  # "eth1=", and N is still due
        *$'\t') described+=("${word//:/\\:}") ;;
        *) described+=("${word//:/\\:}:${offer#*$'\t'}") ;;
    esac
done
(( $#unfinished )) && compadd -S '' -a unfinished && found=0
(( $#described )) && _describe 'mfc-dbus-cli' described && found=0
return found
