# fish completion for xmppkit.
#
# Nothing of the line is evaluated: the program gets its words, which fish has unquoted
# and not expanded, as arguments, and fish quotes what it inserts.

# __xmppkit_complete keeps what the program offers, for the word at the cursor. It fails
# where that is the name of a file, which fish itself knows best.
function __xmppkit_complete
    set -g __xmppkit_offers
    command -q xmppkit
    or return 0
    set -l words (commandline -opc)
    set -l typed
    for quote in '' \' \" # one may be open
        set typed (string unescape -- (commandline -ct)$quote); and break
    end
    set -l lines (command xmppkit __complete $words[2..-1] "$typed" 2>/dev/null </dev/null)
    set -l directive (string replace -rf '^:([0-9]+)$' '$1' -- "$lines[-1]")
    or return 0
    set -e lines[-1]
    if test (math "bitand($directive, 16)") -ne 0
        set -g __xmppkit_offers (__fish_complete_directories (commandline -ct) '')
    else if test (math "bitand($directive, 128)") -ne 0; and not string match -q '*/*' -- "$typed"
        # Where a command is completed, fish itself would run those in its name.
        string match -q '*(*' -- (commandline -ct)
        or set -g __xmppkit_offers (__fish_complete_command)
    else if test (math "bitand($directive, 4)") -eq 0; and not set -q lines[1]
        return 1
    else
        set -g __xmppkit_offers $lines
    end
    return 0
end

complete -c xmppkit -e
complete -c xmppkit -n __xmppkit_complete -f -a '$__xmppkit_offers'
