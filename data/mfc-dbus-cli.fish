# Fish completion of mfc-dbus-cli, which says itself what may be typed.

function __mfc_dbus_cli_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    for offer in (command $words[1] __complete $words[2..] "$typed" 2>/dev/null)
        switch $offer
            case \tfiles
                __fish_complete_path "$typed"
            case \thosts
                __fish_print_hostnames
            case '*'
                echo $offer
        end
    end
end

complete -c mfc-dbus-cli -f -a '(__mfc_dbus_cli_complete)'
