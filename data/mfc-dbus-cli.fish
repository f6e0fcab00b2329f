# Fish completion of mfc-dbus-cli, which says itself what may be typed.

function __mfc_dbus_cli_complete
    set -l words (commandline -opc)
    # Without the quotes and backslashes that are typed, of which one may not be closed yet.
    set -l typed (commandline -ct | string replace -ra '[\\\\"\']' '')
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
