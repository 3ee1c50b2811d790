# PowerShell completion for xmppkit.
#
# Nothing of the line is evaluated: the parser has read its words, the program gets them
# as arguments, and what the program offers is quoted before it is inserted.

Register-ArgumentCompleter -Native -CommandName 'xmppkit' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $program = Get-Command -Name 'xmppkit' -CommandType Application -ErrorAction SilentlyContinue |
        Select-Object -First 1
    if (-not $program) { return }

    # A string tells its text without the quotes and with nothing expanded; of anything
    # else, such as $(...), the text as it was typed is taken.
    $typed = ''
    $words = @('__complete')
    foreach ($element in @($commandAst.CommandElements | Select-Object -Skip 1)) {
        if ($element.Extent.StartOffset -ge $cursorPosition) { break }
        $text = $element.Extent.Text
        if ($element -is [System.Management.Automation.Language.StringConstantExpressionAst] -or
            $element -is [System.Management.Automation.Language.ExpandableStringExpressionAst]) {
            $text = $element.Value
        }
        if ($element.Extent.EndOffset -lt $cursorPosition) {
            $words += $text
        } elseif ($element.Extent.EndOffset -eq $cursorPosition) {
            $typed = $text
        } else {
            $typed = $wordToComplete # the cursor is within the word
        }
    }
    $words += $typed

    # Before 7.3, PowerShell neither passes on empty arguments nor escapes quotes.
    if ($PSVersionTable.PSVersion -lt [version]'7.3' -or $PSNativeCommandArgumentPassing -eq 'Legacy') {
        $words = @($words | ForEach-Object {
            if ($_ -eq '') { '""' } else { $_ -replace '(\\*)"', '$1$1\"' }
        })
    }

    $lines = @(& $program @words 2>$null)
    if ($lines.Count -eq 0 -or $lines[-1] -notmatch '^:(\d+)$') { return }
    $directive = [int]$Matches[1]

    if (($directive -band 128) -and $typed -notmatch '[/\\]') {
        # A wildcard that was typed is a letter here.
        $lines = @(Get-Command -CommandType Application |
            Where-Object { $_.Name.StartsWith($typed, 'OrdinalIgnoreCase') } |
            ForEach-Object { $_.Name } | Sort-Object -Unique) + $lines[-1]
    } elseif (-not ($directive -band 4) -and $lines.Count -eq 1) {
        return # PowerShell completes the names of files, if nothing else is offered
    }
    if ($lines.Count -eq 1) {
        '' # this keeps it from doing so
        return
    }

    foreach ($line in $lines[0..($lines.Count - 2)]) {
        $value, $description = $line -split "`t", 2
        if (-not $description) { $description = $value }
        $word = $value
        if ($value -notmatch '^[A-Za-z0-9_./:=-][A-Za-z0-9_./:@+=-]*$') {
            $word = "'" + [System.Management.Automation.Language.CodeGeneration]::EscapeSingleQuotedStringContent($value) + "'"
        }
        [System.Management.Automation.CompletionResult]::new($word, $value, 'ParameterValue', $description)
    }
}
