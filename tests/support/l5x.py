"""An export of a controller as Studio 5000 writes it, short."""

from __future__ import annotations

L5X = """\
<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<RSLogix5000Content SchemaRevision="1.0" SoftwareRevision="33.00" TargetName="Line1" TargetType="Controller">
<Controller Use="Target" Name="Line1" ProcessorType="1756-L83E" MajorRev="33" MinorRev="11">
<Description><![CDATA[The whole line]]></Description>
<DataTypes>
<DataType Name="Motor" Family="NoFamily" Class="User">
<Description><![CDATA[A motor with its drive]]></Description>
<Members>
<Member Name="ZZZZZZZZZZMotor0" DataType="SINT" Dimension="0" Hidden="true" ExternalAccess="Read/Write"/>
<Member Name="Running" DataType="BIT" Dimension="0" Hidden="false" Target="ZZZZZZZZZZMotor0" BitNumber="0"/>
<Member Name="Speed" DataType="REAL" Dimension="0" Hidden="false" ExternalAccess="Read/Write">
<Description><![CDATA[Speed of the
shaft]]></Description>
</Member>
<Member Name="Drive" DataType="Drive" Dimension="0" Hidden="false" ExternalAccess="Read/Write"/>
<Member Name="Trend" DataType="REAL" Dimension="200" Hidden="false" ExternalAccess="Read/Write"/>
<Member Name="Secret" DataType="DINT" Dimension="0" Hidden="false" ExternalAccess="None"/>
</Members>
</DataType>
<DataType Name="Drive" Family="NoFamily" Class="User">
<Members>
<Member Name="Amps" DataType="INT" Dimension="3" Hidden="false" ExternalAccess="Read/Write"/>
<Member Name="Alarms" DataType="BOOL" Dimension="32" Hidden="false" ExternalAccess="Read/Write"/>
</Members>
</DataType>
<DataType Name="STRING_20" Family="StringFamily" Class="User">
<Members>
<Member Name="LEN" DataType="DINT" Dimension="0" Hidden="false" ExternalAccess="Read/Write"/>
<Member Name="DATA" DataType="SINT" Dimension="20" Hidden="false" ExternalAccess="Read/Write"/>
</Members>
</DataType>
</DataTypes>
<Modules><Module Name="Local"><Ports><Port Id="1"/></Ports>
<Communications><Connections><Connection Name="In"><InputTag ExternalAccess="Read/Write"/></Connection>
</Connections></Communications></Module></Modules>
<AddOnInstructionDefinitions>
<AddOnInstructionDefinition Name="ValveCtl" Revision="1.0">
<Description><LocalizedDescription Lang="en-US"><![CDATA[A valve]]></LocalizedDescription>
<LocalizedDescription Lang="de-DE"><![CDATA[Ein Ventil]]></LocalizedDescription></Description>
<Parameters>
<Parameter Name="EnableIn" TagType="Base" DataType="BOOL" Usage="Input" ExternalAccess="Read Only"/>
<Parameter Name="Open" TagType="Base" DataType="BOOL" Usage="Output" ExternalAccess="Read Only"/>
<Parameter Name="Where" TagType="Base" DataType="Motor" Usage="InOut"/>
</Parameters>
<LocalTags><LocalTag Name="Step" DataType="DINT" ExternalAccess="None">
<Description><![CDATA[not for others]]></Description></LocalTag></LocalTags>
</AddOnInstructionDefinition>
</AddOnInstructionDefinitions>
<Tags>
<Tag Name="Counts" TagType="Base" DataType="DINT" Dimensions="4" Radix="Decimal" ExternalAccess="Read/Write">
<Data Format="L5K"><![CDATA[[0,0,0,0]]]></Data>
</Tag>
<Tag Name="Grid" TagType="Base" DataType="INT" Dimensions="2 3" Radix="Decimal" ExternalAccess="Read/Write"/>
<Tag Name="Log" TagType="Base" DataType="REAL" Dimensions="5000" Radix="Float" ExternalAccess="Read/Write"/>
<Tag Name="Hidden" TagType="Base" DataType="DINT" Radix="Decimal" ExternalAccess="None"/>
<Tag Name="Loop" TagType="Base" DataType="PIDE_ENHANCED" ExternalAccess="Read/Write"/>
<Tag Name="Motors" TagType="Base" DataType="Motor" Dimensions="3" ExternalAccess="Read/Write"/>
<Tag Name="Pump" TagType="Base" DataType="Motor" ExternalAccess="Read/Write">
<Description><![CDATA[Feed pump: "P-101"]]></Description>
</Tag>
<Tag Name="Recipe" TagType="Base" DataType="STRING_20" ExternalAccess="Read/Write"/>
<Tag Name="Cycle" TagType="Base" DataType="TIMER" ExternalAccess="Read/Write"/>
<Tag Name="Second" TagType="Alias" AliasFor="Motors[1]" ExternalAccess="Read/Write"/>
<Tag Name="PumpSpeed" TagType="Alias" AliasFor="Pump.Speed" ExternalAccess="Read/Write"/>
<Tag Name="Card" TagType="Alias" AliasFor="Local:1:I.Data.3" ExternalAccess="Read/Write"/>
</Tags>
<Programs>
<Program Name="Packer" Type="Normal">
<Tags>
<Tag Name="Speed" TagType="Base" DataType="REAL" Radix="Float" ExternalAccess="Read/Write"/>
<Tag Name="Inlet" TagType="Base" DataType="ValveCtl" ExternalAccess="Read/Write"/>
<Tag Name="Mine" TagType="Alias" AliasFor="Speed" ExternalAccess="Read/Write"/>
</Tags>
<Routines><Routine Name="Main" Type="RLL"><RLLContent><Rung><Text><![CDATA[XIC(a)OTE(b);]]></Text></Rung>
</RLLContent></Routine></Routines>
</Program>
</Programs>
</Controller>
</RSLogix5000Content>
"""
